//! Anybody's own rows.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Entry, Environment, Section, Seed, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::card::{HELD_OUT, by_role, judge, named};
use crate::data::{Files, Found, Posed, Spec, Templates, Use};

/// Your own rows: JSON Lines, JSON, CSV or Parquet, from files, a folder or the hub.
///
/// `path` is a file, a folder of files, a folder that a data set of the hub was cloned to, or
/// `hf:org/name[@revision][:config]`; `:config` may follow a folder, too, and `.gz` a file's name. docs/data.md says which
/// files of a folder are read, and in which forms. All values of CSV are texts.
///
/// Templates and expressions are Jinja's, over a row's fields; a field that a row lacks makes it a bad
/// row, and so does a null that a text would show (`x is none` tests for one, `x|default('', true)` stands in). Besides the usual filters and the methods of Python's texts there are `after('####')`, what
/// follows the last mark in a text, and `boxed`, what stands in its last `\boxed{}`:
///
/// ```toml
/// [environment]
/// name = "dataset"
/// path = "questions.jsonl"
/// fields.gold = "solution|after('####')"
/// prompt = "{{ question }}"
/// instruction = "End with #### and the number."
/// answer = "gold"
/// filter = "level >= 3"
/// reward = { name = "final_number" }
/// ```
///
/// Splits: `eval_path` names the held-out rows; else, in a folder or on the hub, the files' names tell
/// them (`train`, `test`, `validation` as a word of the name); else a hash of each row's `key` holds out
/// the share `held_out`. Training rows whose key, spaces and case aside, is held out too are left out.
///
/// The files are read through once, when the first task is asked for; afterwards only the places of rows
/// are kept in memory. A bad row is an error that names file and line, unless `bad_rows` puts up with
/// it. A run's record names the files with their SHA-256, their rows and their bad rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dataset {
    /// Where the rows lie; required.
    pub path: String,
    /// Where the held-out rows lie, if not in `path`.
    pub eval_path: Option<String>,
    /// The share of rows that are held out, above 0 and below 1, whatever the files' names say. Left out:
    /// 0.1, and only where nothing else tells the splits.
    pub held_out: Option<f64>,
    /// Fields to add to every row, in the order of their names: NAME = expression.
    pub fields: BTreeMap<String, String>,
    /// The template of a system message; empty for none.
    pub system: String,
    /// The template of the question.
    pub prompt: String,
    /// What follows the question.
    pub instruction: String,
    /// The expression of the answer.
    pub answer: String,
    /// What else the reward needs: NAME = expression.
    pub facts: BTreeMap<String, String>,
    /// The expression of what a row is told by when rows are split; left out, its question. With it the
    /// splits stay as they are when the template changes.
    pub key: Option<String>,
    /// A condition that rows must meet: an expression.
    pub filter: Option<String>,
    /// Another order than the files': a seed.
    pub shuffle: Option<Seed>,
    /// Training rows at most.
    pub limit: Option<u64>,
    /// Bad rows that are put up with: they are left out and counted. Any more are an error.
    pub bad_rows: u64,
    /// Who judges: a table with a reward's `name` and settings.
    pub reward: Section,
}

impl Default for Dataset {
    fn default() -> Self {
        Self {
            path: String::new(),
            eval_path: None,
            held_out: None,
            fields: BTreeMap::new(),
            system: String::new(),
            prompt: "{{ question }}".to_owned(),
            instruction: String::new(),
            answer: "answer".to_owned(),
            facts: BTreeMap::new(),
            key: None,
            filter: None,
            shuffle: None,
            limit: None,
            bad_rows: 0,
            reward: named("exact_match"),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> =
    Entry { name: "dataset", schema: schema_of::<Dataset>, build: |settings| parse::<Dataset>(settings)?.build() };

impl Dataset {
    fn build(self) -> Result<Box<dyn Environment>, ConfigError> {
        if self.path.trim().is_empty() {
            return Err(ConfigError::at("path", "expected a file, a folder or hf:org/name, got none"));
        }
        if let Some(share) = self.held_out
            && !(share > 0.0 && share < 1.0)
        {
            return Err(ConfigError::at("held_out", format!("expected a number above 0 and below 1, got {share}")));
        }
        if self.held_out.is_some() && self.eval_path.is_some() {
            return Err(ConfigError::at("held_out", "expected either `held_out` or `eval_path`, got both"));
        }
        let system = !self.system.is_empty();
        let mut texts = vec![("prompt", self.prompt.as_str())];
        texts.extend(system.then_some(("system", self.system.as_str())));
        let templates = Templates::new(texts).map_err(|(name, error)| ConfigError::at(name, error))?;
        let mut expressions = vec![("answer".to_owned(), &self.answer)];
        expressions.extend(self.filter.iter().map(|filter| ("filter".to_owned(), filter)));
        expressions.extend(self.key.iter().map(|key| ("key".to_owned(), key)));
        expressions.extend(self.fields.iter().map(|(name, field)| (format!("fields.{name}"), field)));
        expressions.extend(self.facts.iter().map(|(name, fact)| (format!("facts.{name}"), fact)));
        for (place, expression) in expressions {
            templates.check(expression).map_err(|error| ConfigError::at(place, error))?;
        }
        let Self { path, eval_path, held_out, .. } = self;
        Ok(Box::new(Posed::new(Spec {
            name: ENTRY.name.to_owned(),
            files: Box::new(move || files(&path, eval_path.as_deref(), held_out)),
            fields: self.fields.into_iter().collect(),
            templates,
            system,
            instruction: self.instruction,
            answer: self.answer,
            facts: self.facts.into_iter().collect(),
            key: self.key,
            filter: self.filter,
            split: |_| None,
            check: |_| Ok(()),
            shuffle: self.shuffle,
            limit: self.limit,
            bad_rows: self.bad_rows,
            reward: judge(&self.reward)?,
            // What a reward wants around an answer only the recipe's author knows; all take it bare.
            oracle: |task| task.answer.clone(),
        })))
    }
}

fn files(path: &str, eval_path: Option<&str>, held_out: Option<f64>) -> Result<Vec<(Found, Use)>, String> {
    let files = Files::at(path)?;
    let all = |usage| move |found| (found, usage);
    Ok(match (eval_path, held_out) {
        (Some(eval), _) => {
            let mut used: Vec<_> = Files::at(eval)?.into_iter().map(all(Use::Eval)).collect();
            used.extend(files.into_iter().map(all(Use::Train)));
            used
        }
        (None, Some(share)) => files.into_iter().map(all(Use::Hash(share))).collect(),
        (None, None) => by_role(files, None, HELD_OUT),
    })
}
