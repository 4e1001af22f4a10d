//! Models and data sets from the Hugging Face hub, or what HF_ENDPOINT names instead, in the cache that
//! Python's `huggingface_hub` keeps: what one has fetched, the other finds.

mod cache;
mod client;
mod data;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::console::note;
use crate::usage::Usage;
use cache::Repo;
use client::{Client, Refused};
pub(crate) use data::fetch as fetch_data;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// Its name in errors.
    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }

    /// Its name in addresses and in the cache.
    const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A model on the hub: `org/name`, `org/name@revision`, `org/name:file.gguf`. Or a data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Id {
    kind: Kind,
    /// `org/name`.
    name: String,
    /// A branch, a tag or a commit.
    revision: String,
    /// One GGUF file of the repository.
    file: Option<String>,
}

impl Id {
    /// Reads an id; `None` where the text has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (text, file) = match text.split_once(':') {
            Some((text, file)) => (text, Some(file)),
            None => (text, None),
        };
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let word = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let path = |path: &str| path.split('/').all(word);
        let sound = name.split_once('/').is_some_and(|(org, name)| word(org) && word(name))
            && path(revision)
            && file.is_none_or(|file| path(file) && file.ends_with(".gguf"));
        sound.then(|| Self {
            kind: Kind::Model,
            name: name.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }

    /// `org/name`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// How the hub is reached, as the environment says it.
pub(super) struct Hub {
    /// Where it answers, without a slash at the end.
    endpoint: String,
    token: Option<String>,
    /// The folder of all repositories.
    cache: PathBuf,
    /// Ask nobody.
    offline: bool,
    /// The longest to wait for an answer to a question.
    answer: Duration,
    /// The longest that a download may stand still.
    idle: Duration,
    /// The pause before a failed request is tried again; it doubles each time.
    pause: Duration,
}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT`, with Python's defaults.
    pub(super) fn from_env() -> anyhow::Result<Self> {
        let text = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || path("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(cache()?.join("huggingface")));
        let home = home.ok_or_else(|| Usage::error("there is no home folder to keep models in; set HF_HOME=DIR"))?;
        let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let kept = || std::fs::read_to_string(file).ok().map(|token| token.trim().to_owned()).filter(|t| !t.is_empty());
        let seconds = |name: &str, default: u64| {
            Duration::from_secs(text(name).and_then(|s| s.parse().ok()).filter(|s| *s > 0).unwrap_or(default))
        };
        let offline = text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE")).unwrap_or_default();
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").or_else(kept),
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            offline: ["1", "true", "yes", "on"].contains(&offline.to_ascii_lowercase().as_str()),
            answer: seconds("HF_HUB_ETAG_TIMEOUT", 10),
            idle: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 30),
            pause: Duration::from_secs(1),
        })
    }

    /// Fetches what is missing of a model and returns its folder, or its GGUF file. Where the hub
    /// cannot be reached, a model that is whole in the cache is taken as it is.
    pub(super) fn fetch(&self, id: &Id) -> anyhow::Result<PathBuf> {
        let repo = Repo::new(&self.cache, id.kind, &id.name);
        if self.offline {
            return self
                .cached(&repo, id)
                .with_context(|| format!("model {} without a network (HF_HUB_OFFLINE)", id.name));
        }
        let client = Client::new(self);
        let listing = match client.listing(id) {
            Ok(listing) => listing,
            Err(Refused::Answer(error)) => return Err(error),
            Err(Refused::Unreachable(error)) => {
                let Ok(path) = self.cached(&repo, id) else { return Err(error) };
                note!("{error:#}; using what was fetched before");
                return Ok(path);
            }
        };
        let get = |name: &str| client.fetch(&repo, id, &listing.commit, name);
        let names = listing.names();
        let path = match &id.file {
            Some(file) => gguf(id, file, &names, get)?,
            None => folder(id, &names, get, &repo.snapshot(&listing.commit))?,
        };
        // Last, so that a revision that is in the cache was once whole.
        if id.revision != listing.commit {
            repo.set_ref(&id.revision, &listing.commit)?;
        }
        Ok(path)
    }

    /// The model as an earlier fetch, ours or Python's, has left it.
    fn cached(&self, repo: &Repo, id: &Id) -> anyhow::Result<PathBuf> {
        let commit = repo.commit(&id.revision).with_context(|| {
            format!(
                "{} holds no revision {} of {}; fetch it once with a network",
                self.cache.display(),
                id.revision,
                id.name
            )
        })?;
        let snapshot = repo.snapshot(&commit);
        let here = |name: &str| {
            let path = snapshot.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                bail!("{} is not in the cache; fetch it once with a network", path.display())
            }
        };
        if let Some(file) = &id.file {
            return split(file).iter().try_for_each(|part| here(part).map(drop)).map(|()| snapshot.join(file));
        }
        if here("config.json").is_err() && here(ADAPTER).is_ok() {
            here("adapter_model.safetensors")?;
            return Ok(snapshot);
        }
        here("config.json")?;
        if here(INDEX).is_ok() {
            shards(&snapshot.join(INDEX))?.iter().try_for_each(|shard| here(shard).map(drop))?;
        } else {
            here("model.safetensors")?;
        }
        Ok(snapshot)
    }
}

const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_config.json";

/// The files of a model's folder that RELIGN reads, besides its weights.
const FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    ADAPTER,
];

/// Fetches a folder's files, the weights last.
fn folder(
    id: &Id,
    names: &[&str],
    get: impl Fn(&str) -> anyhow::Result<PathBuf>,
    snapshot: &Path,
) -> anyhow::Result<PathBuf> {
    let has = |name: &str| names.contains(&name);
    let weights = ["adapter_model.safetensors", "model.safetensors"].into_iter().filter(|name| has(name));
    let weights: Vec<String> = weights.map(str::to_owned).collect();
    if !(has("config.json") || has(ADAPTER)) || (weights.is_empty() && !has(INDEX)) {
        let ggufs: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".gguf")).collect();
        if let [.., last] = ggufs[..] {
            let all = ggufs.join(", ");
            bail!(
                "model {}: the hub has GGUF files; name one, for example {}:{last}. There are: {all}",
                id.name,
                id.name
            );
        }
        if let Some(pickled) =
            names.iter().find(|name| name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"))
        {
            bail!(
                "model {}: the hub has {pickled} but no .safetensors; pickled weights are refused because reading them \
                 runs code from the file. Look for a revision with safetensors (refs/pr/N), or convert them where you trust them",
                id.name
            );
        }
        bail!("model {}: expected config.json and .safetensors files, the hub has: {}", id.name, names.join(", "));
    }
    for name in FILES.iter().filter(|name| has(name)) {
        get(name)?;
    }
    let weights = if has(INDEX) && !has("model.safetensors") { shards(&get(INDEX)?)? } else { weights };
    for name in &weights {
        get(name)?;
    }
    Ok(snapshot.to_owned())
}

/// The files that an index of shards names.
fn shards(index: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read(index).with_context(|| index.display().to_string())?;
    let json: Value = serde_json::from_slice(&text).with_context(|| index.display().to_string())?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .with_context(|| format!("{}: expected weight_map", index.display()))?;
    let mut files: Vec<String> = map.values().filter_map(|file| Some(file.as_str()?.to_owned())).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Fetches a GGUF file, with the other parts where it is the first of several.
fn gguf(id: &Id, file: &str, names: &[&str], get: impl Fn(&str) -> anyhow::Result<PathBuf>) -> anyhow::Result<PathBuf> {
    if !names.contains(&file) {
        let ggufs: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".gguf")).collect();
        let there = if ggufs.is_empty() { "no GGUF files".to_owned() } else { ggufs.join(", ") };
        bail!("model {}: expected the file {file}, the hub has {there}", id.name);
    }
    let parts = split(file).into_iter().map(|part| get(&part)).collect::<anyhow::Result<Vec<_>>>()?;
    parts.into_iter().next().with_context(|| format!("model {}: {file} has no parts", id.name))
}

/// All parts of a file called `NAME-00001-of-00003.gguf`; else the file alone.
fn split(file: &str) -> Vec<String> {
    let parts = || {
        let (stem, count) = file.strip_suffix(".gguf")?.split_once("-00001-of-")?;
        let number: usize = (count.len() == 5).then(|| count.parse().ok())??;
        Some((1..=number).map(|part| format!("{stem}-{part:05}-of-{count}.gguf")).collect())
    };
    parts().filter(|parts: &Vec<String>| !parts.is_empty()).unwrap_or_else(|| vec![file.to_owned()])
}
