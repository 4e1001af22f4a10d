//! What a run began from: the hashes of everything that it would be another run without.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use relign_core::{DataFile, Recipe, files};
use relign_train::{FileHash, hex};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::loaded::weights_hash;
use crate::usage::Usage;
use crate::{models, recipe_file};

/// A run's `began.json`, written before its first step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Began {
    /// RELIGN's version.
    pub(crate) relign: String,
    /// SHA-256 of the recipe without its number of steps, which may grow.
    recipe_sha256: String,
    /// SHA-256 of the model's weights.
    pub(crate) model_sha256: String,
    /// SHA-256 of the weights of an adapter's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_sha256: Option<String>,
    /// SHA-256 of the model's other files: configuration, tokenizer, chat template. Of a GGUF file they are part of it.
    model_files: BTreeMap<String, String>,
    /// The files that tasks are read from.
    pub(crate) data: Vec<DataFile>,
    /// SHA-256 of the Python files that the recipe names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    programs: BTreeMap<String, String>,
}

/// Its name in a run's folder.
const FILE: &str = "began.json";

/// The files of a model's folder, apart from its weights, that decide what the model is and how it is asked.
fn counts(name: &str) -> bool {
    let named =
        ["vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "vocab.txt"].contains(&name);
    let begins = ["config.json", "generation_config.json", "tokenizer", "chat_template", "adapter_config.json"];
    named || begins.iter().any(|start| name.starts_with(start)) || name.ends_with(".model") || name.ends_with(".jinja")
}

impl Began {
    /// What a run of `recipe` with the model at `path` and tasks from `data` begins from.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn of(recipe: &Recipe, path: &Path, model_sha256: String, data: Vec<DataFile>) -> anyhow::Result<Self> {
        let mut model_files = BTreeMap::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
                let (name, file) =
                    entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))?;
                if counts(&name) && file.is_file() {
                    let hash = FileHash::of(&file).with_context(|| file.display().to_string())?;
                    model_files.insert(name, hash.sha256);
                }
            }
        }
        let base_sha256 = models::base_of(path)?.map(|base| weights_hash(&base)).transpose()?;
        let (relign, recipe_sha256) = (env!("CARGO_PKG_VERSION").to_owned(), recipe_hash(recipe)?);
        let programs = programs(recipe)?;
        Ok(Self { relign, recipe_sha256, model_sha256, base_sha256, model_files, data, programs })
    }

    /// Writes it into a run's folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let file = folder.join(FILE);
        files::write(&file, serde_json::to_string_pretty(self)? + "\n").with_context(|| file.display().to_string())
    }

    /// That of a run's folder.
    ///
    /// # Errors
    /// If it is missing or cannot be understood.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(FILE);
        let wrong =
            |what: String| Usage::error(format!("{}: expected what the run began from, got {what}", file.display()));
        let text = files::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Refuses a recipe other than the one that the run in `folder` began with, its steps aside.
    ///
    /// # Errors
    /// If it is another.
    pub(crate) fn expect_recipe(&self, folder: &Path, recipe: &Recipe) -> anyhow::Result<()> {
        let (expected, got) = (&self.recipe_sha256, recipe_hash(recipe)?);
        if *expected == got {
            return Ok(());
        }
        let file = folder.join("recipe.toml");
        let what = format!("expected the recipe that the run began with (SHA-256 {expected}), got another ({got})");
        Err(Usage::error(format!("{}: {what}", file.display())))
    }

    /// Refuses to go on with a run in `folder` that began from anything else.
    ///
    /// # Errors
    /// All that differs.
    pub(crate) fn expect(&self, folder: &Path) -> anyhow::Result<()> {
        let differences = Self::read(folder)?.differences(self);
        if differences.is_empty() {
            return Ok(());
        }
        let file = folder.join(FILE);
        Err(Usage::error(format!(
            "--resume: the run began from something else ({}):\n  {}",
            file.display(),
            differences.join("\n  ")
        )))
    }

    /// What differs in `now`: thing, expected, got.
    fn differences(&self, now: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut differ = |what: &str, expected: Option<&str>, got: Option<&str>| {
            if expected != got {
                let word = |text: Option<&str>| text.unwrap_or("none").to_owned();
                all.push(format!("{what}: expected {}, got {}", word(expected), word(got)));
            }
        };
        differ("relign's version", Some(&self.relign), Some(&now.relign));
        differ("SHA-256 of the recipe", Some(&self.recipe_sha256), Some(&now.recipe_sha256));
        differ("SHA-256 of the model's weights", Some(&self.model_sha256), Some(&now.model_sha256));
        differ("SHA-256 of the base model's weights", self.base_sha256.as_deref(), now.base_sha256.as_deref());
        for name in self.programs.keys().chain(now.programs.keys().filter(|name| !self.programs.contains_key(*name))) {
            let of = |began: &'_ Self| began.programs.get(name).cloned();
            differ(&format!("SHA-256 of {name}"), of(self).as_deref(), of(now).as_deref());
        }
        let names =
            self.model_files.keys().chain(now.model_files.keys().filter(|name| !self.model_files.contains_key(*name)));
        for name in names {
            let of = |began: &'_ Self| began.model_files.get(name).cloned();
            differ(&format!("SHA-256 of the model's {name}"), of(self).as_deref(), of(now).as_deref());
        }
        // Wherever they lie now, they are the same.
        if self.data.iter().map(|file| &file.sha256).eq(now.data.iter().map(|file| &file.sha256)) {
            return all;
        }
        let files = |began: &Self| -> BTreeMap<String, String> {
            began.data.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect()
        };
        let (before, after) = (files(self), files(now));
        for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
            let (expected, got) = (before.get(name).map(String::as_str), after.get(name).map(String::as_str));
            differ(&format!("SHA-256 of the data file {name}"), expected, got);
        }
        all
    }
}

/// SHA-256 of a recipe without its number of steps and its secrets.
fn recipe_hash(recipe: &Recipe) -> anyhow::Result<String> {
    let mut recipe = recipe.clone();
    recipe.run.steps = 0;
    Ok(hex(&Sha256::digest(recipe_file::write(&recipe)?)))
}

/// The hashes of the Python files that a recipe names: rewards and environments as `FILE.py:NAME`.
fn programs(recipe: &Recipe) -> anyhow::Result<BTreeMap<String, String>> {
    let (mut all, mut left) = (BTreeMap::new(), vec![serde_json::to_value(recipe)?]);
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(map) => left.extend(map.into_iter().map(|(_, value)| value)),
            Value::String(text) => {
                let place = text.strip_prefix("python:").unwrap_or(&text);
                let Some((file, _)) = place.rsplit_once(':').filter(|(file, _)| file.ends_with(".py")) else {
                    continue;
                };
                if Path::new(file).is_file() {
                    let hash = FileHash::of(Path::new(file)).with_context(|| file.to_owned())?;
                    all.insert(file.to_owned(), hash.sha256);
                }
            }
            _ => {}
        }
    }
    Ok(all)
}
