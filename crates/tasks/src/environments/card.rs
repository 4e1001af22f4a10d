//! Data sets by name: what each one's file says of it, and what all of them share.

use std::path::{Path, PathBuf};

use relign_core::{ConfigError, Environment, Reward, Section, Seed, Split, Task, find, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::data::{Files, Found, HubId, Posed, Role, Row, Spec, Templates, Use, in_folder, is_data, local, role};
use crate::rewards::REWARDS;

/// What the settings of every built-in data set are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// A folder, a file or `hf:org/name[@revision][:config]` with rows of the same fields. Left out: the
    /// data set's folder in `$RELIGN_DATA`, then in `../shared/data`, then the hub.
    pub(crate) path: Option<String>,
    /// What follows the question.
    pub(crate) instruction: Option<String>,
    /// A reward instead of the data set's own: a table with its `name` and settings.
    pub(crate) reward: Option<Section>,
    /// A condition that rows must meet: an expression over their fields.
    pub(crate) filter: Option<String>,
    /// Another order than the files': a seed.
    pub(crate) shuffle: Option<Seed>,
    /// Training rows at most.
    pub(crate) limit: Option<u64>,
    /// Bad rows that are put up with: they are left out and counted. Any more are an error.
    pub(crate) bad_rows: u64,
}

/// A data set by name.
#[derive(Clone, Copy)]
pub(crate) struct Card {
    /// The registry name.
    pub(crate) name: &'static str,
    /// Its manual's first paragraphs: what is asked, and who asked it first.
    pub(crate) about: &'static str,
    /// Who made it, and where it lies.
    pub(crate) origin: &'static str,
    /// Its licence.
    pub(crate) licence: &'static str,
    /// The splits in words.
    pub(crate) splits: &'static str,
    /// Its folder among local data.
    pub(crate) folder: &'static str,
    /// Local files to train on, without their endings: the first that is there. None: it is for
    /// measuring alone, or its rows tell their split.
    pub(crate) train: &'static [&'static str],
    /// Local files to measure on, likewise; empty for all that the folder has.
    pub(crate) eval: &'static [&'static str],
    /// Its place on the hub, if it has one.
    pub(crate) hub: Option<&'static str>,
    /// The configuration there, where `hub` names none.
    pub(crate) config: Option<&'static str>,
    /// The split of a row, where rows say it and not files.
    pub(crate) split: Option<fn(&Row) -> Option<Split>>,
    /// Fields that are made of others: names and expressions.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The template of the question.
    pub(crate) prompt: &'static str,
    /// What follows it.
    pub(crate) instruction: &'static str,
    /// The expression of the answer.
    pub(crate) answer: &'static str,
    /// Facts for the reward: names and expressions.
    pub(crate) facts: &'static [(&'static str, &'static str)],
    /// The expression of what a row is told by; left out, its prompt.
    pub(crate) key: Option<&'static str>,
    /// The reward's section, as JSON.
    pub(crate) reward: &'static str,
    /// Rows that are known to be bad: left out and counted.
    pub(crate) bad_rows: u64,
    /// What is wrong with a task, if anything.
    pub(crate) check: fn(&Task) -> Result<(), String>,
    /// What solves a task; empty where nobody knows.
    pub(crate) oracle: fn(&Task) -> String,
}

impl Card {
    /// What most data sets have in common.
    pub(crate) const BLANK: Self = Self {
        name: "",
        about: "",
        origin: "",
        licence: "",
        splits: "",
        folder: "",
        train: &[],
        eval: &["test"],
        hub: None,
        config: None,
        split: None,
        fields: &[],
        prompt: "{{ question }}",
        instruction: "",
        answer: "answer",
        facts: &[],
        key: None,
        reward: r#"{"name": "exact_match"}"#,
        bad_rows: 0,
        check: |_| Ok(()),
        oracle: |task| format!("The answer is {}", task.answer),
    };

    /// The schema of the settings, its description the whole manual.
    pub(crate) fn schema(&self) -> Value {
        self.described(schema_of::<Settings>())
    }

    /// `schema` with the manual and the defaults of this data set.
    pub(crate) fn described(&self, mut schema: Value) -> Value {
        schema["description"] = self.manual().into();
        schema["properties"]["instruction"]["default"] = self.instruction.into();
        // Whose data it is, for model cards: readers of schemas pass over what they do not know.
        let hub = self.hub.map(|hub| hub.trim_start_matches("hf:").split([':', '@']).next().unwrap_or_default());
        schema["x-data-set"] = json!({"hub": hub, "licence": self.licence});
        schema
    }

    fn manual(&self) -> String {
        let hub = self.hub.map(|hub| format!("`{hub}`, ")).unwrap_or_default();
        let prompt = self.prompt.trim().replace('\n', "\n    ");
        let Self { about, folder, splits, licence, origin, reward, .. } = self;
        format!(
            "{about}\n\nPrompt:\n\n    {prompt}\n\n- instruction: {}\n- reward: `{reward}`\n- splits: {splits}\n- origin: {origin}\n- licence: {licence}\n- files: `{folder}` in the data folder, {}",
            if self.instruction.is_empty() { "none" } else { self.instruction },
            if hub.is_empty() { "nothing on the hub".to_owned() } else { format!("{hub}on the hub") },
        )
    }

    /// The environment with `settings`.
    pub(crate) fn build(self, settings: Value) -> Result<Box<dyn Environment>, ConfigError> {
        self.with(parse(settings)?)
    }

    /// The environment with settings that were read.
    pub(crate) fn with(self, settings: Settings) -> Result<Box<dyn Environment>, ConfigError> {
        let Settings { path, instruction, reward, filter, shuffle, limit, bad_rows } = settings;
        let templates = Templates::new([("prompt", self.prompt)])
            .map_err(|(name, error)| ConfigError::at(name, format!("{}: {error}", self.name)))?;
        if let Some(filter) = &filter {
            templates.check(filter).map_err(|error| ConfigError::at("filter", error))?;
        }
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let own = || serde_json::from_str::<Section>(self.reward).map_err(|e| ConfigError::at("reward", e.to_string()));
        Ok(Box::new(Posed::new(Spec {
            name: self.name.to_owned(),
            files: Box::new(move || self.files(path.as_deref())),
            fields: pairs(self.fields),
            templates,
            system: false,
            instruction: instruction.unwrap_or_else(|| self.instruction.to_owned()),
            answer: self.answer.to_owned(),
            facts: pairs(self.facts),
            key: self.key.map(str::to_owned),
            filter,
            split: self.split.unwrap_or(|_| None),
            check: self.check,
            shuffle,
            limit,
            bad_rows: bad_rows.max(self.bad_rows),
            reward: judge(&reward.map_or_else(own, Ok)?)?,
            oracle: self.oracle,
        })))
    }

    fn files(&self, path: Option<&str>) -> Result<Vec<(Found, Use)>, String> {
        if let Some(path) = path {
            let folder = Path::new(path);
            return if folder.is_dir() { self.in_folder(folder) } else { self.used(Files::at(path)?) };
        }
        let homes = [std::env::var_os("RELIGN_DATA").map(PathBuf::from), Some("../shared/data".into())];
        let folders = homes.into_iter().flatten().map(|home| home.join(self.folder));
        match (folders.into_iter().find(|folder| folder.is_dir()), self.hub) {
            (Some(folder), _) => self.in_folder(&folder),
            (None, Some(hub)) => {
                let config = self.config.map(|config| format!(":{config}")).unwrap_or_default();
                self.used(Files::at(&format!("{hub}{config}"))?)
            }
            (None, None) => Err(format!(
                "expected the folder `{}` in $RELIGN_DATA or in ../shared/data, or `path`, got none of them; the hub does not have it",
                self.folder
            )),
        }
    }

    /// The data set's own files in a folder: what is measured on must be there.
    fn in_folder(&self, folder: &Path) -> Result<Vec<(Found, Use)>, String> {
        if self.eval.is_empty() {
            return Ok(local(folder)?.into_iter().map(|found| (found, self.eval_use())).collect());
        }
        let named = |names: &[&str]| names.iter().find_map(|name| file(folder, name));
        let Some(eval) = named(self.eval) else {
            // A copy of the hub's repository, perhaps.
            return in_folder(folder, self.hub_config().as_deref()).and_then(|files| self.used(files)).map_err(|error| {
                let names: Vec<String> = self.eval.iter().map(|name| format!("{name}.jsonl")).collect();
                format!(
                    "{}: expected a file of rows (JSON Lines, JSON, CSV or Parquet), got nothing there; as a copy of the \
                     hub's repository: {error}",
                    folder.join(names.join(" or ")).display()
                )
            });
        };
        let mut files = local(&eval)?.into_iter().map(|found| (found, self.eval_use())).collect::<Vec<_>>();
        if let Some(train) = named(self.train) {
            files.extend(local(&train)?.into_iter().map(|found| (found, Use::Train)));
        }
        Ok(files)
    }

    /// The configuration that is meant on the hub.
    fn hub_config(&self) -> Option<String> {
        let named = self.hub.and_then(HubId::parse).and_then(Result::ok).and_then(|id| id.config);
        named.or_else(|| self.config.map(str::to_owned))
    }

    fn eval_use(&self) -> Use {
        if self.split.is_some() { Use::ByRow } else { Use::Eval }
    }

    /// What files from elsewhere are for.
    fn used(&self, files: Vec<Found>) -> Result<Vec<(Found, Use)>, String> {
        if self.split.is_some() {
            return Ok(files.into_iter().map(|found| (found, Use::ByRow)).collect());
        }
        if self.train.is_empty() && files.iter().all(|found| found.role.is_none()) {
            return Ok(files.into_iter().map(|found| (found, Use::Eval)).collect());
        }
        // The same split is held out wherever the files come from.
        let held = self.eval.first().and_then(|name| role(name));
        let mut used = by_role(files, held, HELD_OUT);
        if self.train.is_empty() {
            used.retain(|(_, usage)| *usage == Use::Eval);
        }
        if used.is_empty() { Err("expected files to measure on, got none".to_owned()) } else { Ok(used) }
    }
}

/// The share of rows that are held out where nothing else is.
pub(crate) const HELD_OUT: f64 = 0.1;

/// What files are for, by their names: training and, held out, what is `meant` or else testing or else validation. Where
/// the names tell no split, or there is nothing to hold out, a hash holds out `share` of all rows.
pub(crate) fn by_role(files: Vec<Found>, meant: Option<Role>, share: f64) -> Vec<(Found, Use)> {
    let any = |role| files.iter().any(|found| found.role == Some(role));
    let (train, test, validation) = (any(Role::Train), any(Role::Test), any(Role::Validation));
    let by_default = if test { Role::Test } else { Role::Validation };
    let held = meant.filter(|role| any(*role)).unwrap_or(by_default);
    let alone = files.len() == 1 && !test;
    if alone || !(test || validation) {
        // Of several files, those for training are meant where some say so.
        let meant = files.into_iter().filter(|found| !train || found.role == Some(Role::Train));
        return meant.map(|found| (found, Use::Hash(share))).collect();
    }
    let usage = |found: &Found| match found.role {
        Some(Role::Train) => Some(Use::Train),
        Some(role) if role == held => Some(Use::Eval),
        _ => None,
    };
    files.into_iter().filter_map(|found| usage(&found).map(|usage| (found, usage))).collect()
}

/// The file called `stem` with one of the endings of rows.
fn file(folder: &Path, stem: &str) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files.into_iter().find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        is_data(&name) && name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The reward that a section names.
pub(crate) fn judge(section: &Section) -> Result<Box<dyn Reward>, ConfigError> {
    let build = || {
        let (name, settings) = crate::in_full(&section.name, &section.settings)?;
        (find("reward", REWARDS, name)?.build)(Value::Object(settings))
    };
    build().map_err(|error| error.within("reward"))
}

/// A section with no settings.
pub(crate) fn named(name: &str) -> Section {
    serde_json::from_value(json!({"name": name})).unwrap_or_else(|_| unreachable!("a name makes a section"))
}
