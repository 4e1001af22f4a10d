//! What is measured: a benchmark is a short TOML file, the built-in ones too.

use std::collections::BTreeMap;

use relign_core::{RewardSection, Sampling, Section, bounds, schema_of, settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod builtin;
mod metric;
mod prompt;
mod subset;

pub use builtin::{BUILTIN, SUITES, TEMPLATE, all, named, suite};
pub use metric::{Metric, Tally};
pub use prompt::{Prompt, Shot};
pub use subset::subset;

use crate::digest;

/// A benchmark: which tasks are asked, how, how often, and what is made of the answers.
///
/// A TOML file on disk. Keys left out take their defaults, keys that do not exist are errors. Two results can
/// be compared if they come from one definition: its hash stands in every result, so that a change of
/// anything but `about` makes another benchmark. Raise `version` when you mean to change one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// What to call it: letters, digits, `-`, `_`, and `/` before a variant.
    pub name: String,
    /// Raised whenever the definition changes.
    pub version: u32,
    /// The field it belongs to: math, coding, health, finance, general, or your own.
    pub domain: String,
    /// What it measures and where it comes from; not part of its hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Where tasks come from: the environment's name and its settings.
    pub environment: Section,
    /// The part of the environment's tasks that is asked.
    #[serde(default)]
    pub split: Part,
    /// At most this many tasks, the first ones; needed where the environment makes them without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// How a task is put to the model.
    #[serde(default)]
    pub prompt: Prompt,
    /// How an answer is searched for: the strategy's name and its settings.
    #[serde(default = "sample")]
    pub strategy: Section,
    /// What counts as right: named rewards and their weights. Left out, the environment's own score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardSection>,
    /// A second, more forgiving judgement, shown beside the first: what of the errors is only form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lenient: Vec<RewardSection>,
    /// How tokens are sampled.
    #[serde(default)]
    pub sampling: Decoding,
    /// Answers to each task.
    #[serde(default = "one")]
    pub samples: u64,
    /// The figures reported; the first is the benchmark's own.
    #[serde(default = "accuracy")]
    pub metrics: Vec<Metric>,
    /// One benchmark for every value of a setting of the environment, called `name/value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub each: BTreeMap<String, Vec<Value>>,
}

/// The part of an environment's tasks that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Held-out tasks.
    #[default]
    Eval,
    /// Tasks to learn from.
    Train,
}

impl From<Part> for relign_core::Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Eval => Self::Eval,
            Part::Train => Self::Train,
        }
    }
}

/// How a benchmark's answers are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decoding {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f32,
    /// At most this many tokens.
    pub max_tokens: usize,
    /// An answer ends before one of these.
    pub stop: Vec<String>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { temperature: 0.0, max_tokens: 1024, stop: Vec::new() }
    }
}

impl From<&Decoding> for Sampling {
    fn from(decoding: &Decoding) -> Self {
        let Decoding { temperature, max_tokens, stop } = decoding.clone();
        Self { temperature, max_tokens, stop, ..Self::default() }
    }
}

// A definition, or a log of somebody else's, must not ask for all memory.
pub(crate) use relign_core::bounds::MOST_SAMPLES;

fn sample() -> Section {
    Section { name: "sample".to_owned(), settings: Map::new() }
}

fn one() -> u64 {
    1
}

fn accuracy() -> Vec<Metric> {
    vec![Metric::Accuracy]
}

/// A definition that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("benchmark {name}: {message}")]
pub struct BenchmarkError {
    /// The file or the benchmark.
    pub name: String,
    /// What is wrong: thing, expected, got.
    pub message: String,
}

impl BenchmarkError {
    fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), message: message.into() }
    }
}

impl Benchmark {
    /// Reads a definition; `name` stands for the file in errors, which show the line.
    ///
    /// # Errors
    /// If it is not TOML, has an unknown key or a value of the wrong type, or its parts do not fit together.
    pub fn read(name: &str, text: &str) -> Result<Vec<Self>, BenchmarkError> {
        let wrong = |error: toml::de::Error| BenchmarkError::new(name, settings::plain(error.to_string().trim_end()));
        // Serde would take a list for a table.
        let value: Value = toml::from_str(text).map_err(wrong)?;
        if let Some(error) = settings::misfit(&schema_of::<Self>(), &value) {
            return Err(BenchmarkError::new(name, error.to_string()));
        }
        let benchmark: Self = toml::from_str(text).map_err(wrong)?;
        benchmark.check().map_err(|message| BenchmarkError::new(name, message))?;
        Ok(benchmark.variants())
    }

    /// What no type says.
    fn check(&self) -> Result<(), String> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(word) {
            return Err(format!("name: expected letters, digits, `-` and `_`, got `{}`", self.name));
        }
        if self.domain.is_empty() {
            return Err("domain: expected a word such as math, got nothing".to_owned());
        }
        if self.samples == 0 || self.samples > MOST_SAMPLES {
            return Err(format!("samples: expected 1 to {MOST_SAMPLES}, got {}", self.samples));
        }
        let value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Some(beyond) = bounds::beyond(&schema_of::<Self>(), &value).into_iter().next() {
            return Err(beyond.to_string());
        }
        if self.items == Some(0) {
            return Err("items: expected at least 1, got 0".to_owned());
        }
        let temperature = self.sampling.temperature;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(format!("sampling.temperature: expected a number from 0 up, got {temperature}"));
        }
        if self.sampling.max_tokens == 0 {
            return Err("sampling.max_tokens: expected at least 1, got 0".to_owned());
        }
        if self.samples > 1 && temperature == 0.0 {
            let message = "samples: expected 1 where sampling.temperature is 0 (all would be the same), got";
            return Err(format!("{message} {}", self.samples));
        }
        if self.metrics.is_empty() {
            return Err("metrics: expected at least one, such as \"accuracy\", got none".to_owned());
        }
        for metric in &self.metrics {
            let k = metric.samples();
            if k > self.samples {
                return Err(format!(
                    "metrics: {metric} needs {k} samples, expected samples = {k} or more, got {}",
                    self.samples
                ));
            }
        }
        if self.each.len() > 1 || self.each.values().any(Vec::is_empty) {
            return Err("each: expected one setting with a list of its values".to_owned());
        }
        if let Some(setting) = self.each.keys().find(|setting| self.environment.settings.contains_key(*setting)) {
            return Err(format!("each: `{setting}` is set under [environment], too; expected it in one place"));
        }
        self.prompt.check()
    }

    /// The benchmark, or one for each value of `each`.
    fn variants(mut self) -> Vec<Self> {
        let Some((setting, values)) = std::mem::take(&mut self.each).into_iter().next() else { return vec![self] };
        let variant = |value: Value| {
            let mut benchmark = self.clone();
            let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            benchmark.name = format!("{}/{word}", self.name);
            benchmark.environment.settings.insert(setting.clone(), value);
            benchmark
        };
        values.into_iter().map(variant).collect()
    }

    /// The hash of everything but `about`: SHA-256 of the definition's canonical JSON, defaults written out.
    #[must_use]
    pub fn hash(&self) -> String {
        digest::of(&Self { about: String::new(), ..self.clone() })
    }

    /// The figure that stands for the benchmark.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metrics.first().copied().unwrap_or(Metric::Accuracy)
    }
}
