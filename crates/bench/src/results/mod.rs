//! What was measured, on disk: one append-only log for each model, benchmark and configuration.
//!
//! A log is JSON Lines. The first line is the [`Header`]: the whole definition of the benchmark, and where
//! every score comes from (hashes of data, template and model, the grader's version, the engine and its
//! settings, the seed). Then come the [`Item`]s that are asked, then one line for each [`Sample`], and at
//! last an [`End`]. A line says what it is in `kind`, and ends with `chain`: the SHA-256 of the line before
//! it and of its own text.
//!
//! The chain finds every line that was changed, removed, added or moved since it was written, as long as
//! the lines after it were left alone; whoever computes all of it anew can forge a log like any other file
//! without a signature. What the header claims about itself (hashes of the benchmark, the configuration and
//! the items) is computed again on entry as well.
//!
//! A process that is killed leaves at most half a line, which the next one cuts off.

pub mod chain;
mod log;
mod read;
pub(crate) mod summary;

use std::collections::BTreeMap;
use std::path::PathBuf;

use relign_core::{Finish, Score, Task};
use serde::{Deserialize, Serialize};

pub use log::Log;
pub use read::{Results, find, read};
pub use summary::{Shares, Summary, summary};

use crate::benchmark::Benchmark;
use crate::digest;

/// The version of the format, in every header.
pub const FORMAT: u32 = 1;

/// The first line: what is measured, and where its scores come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The benchmark, defaults written out.
    pub benchmark: Benchmark,
    /// Its hash.
    pub benchmark_hash: String,
    /// The items that are asked.
    pub items: u64,
    /// Those that `--limit` left of them, if it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// SHA-256 of the items: conversations as they are asked, answers and what judges them.
    pub data_sha256: String,
    /// What the model is called.
    pub model: String,
    /// SHA-256 of its weights; of its address and name, where a server has them.
    pub model_sha256: String,
    /// SHA-256 of the chat template.
    pub template_sha256: String,
    /// What judged the answers, and which version of it.
    pub grader: String,
    /// What made the tokens, and its settings: `name`, `dtype`, ...
    pub engine: BTreeMap<String, String>,
    /// The source of all randomness.
    pub seed: u64,
    /// Hash of everything above that scores depend on, the model and the benchmark aside.
    pub config_hash: String,
    /// RELIGN's version.
    pub relign: String,
}

impl Header {
    /// The header with its hashes and counts filled in for `items`.
    #[must_use]
    pub fn sealed(mut self, items: &[Item]) -> Self {
        self.format = FORMAT;
        self.items = items.len() as u64;
        self.data_sha256 = data_sha256(items);
        self.benchmark_hash = self.benchmark.hash();
        self.config_hash = self.config();
        self
    }

    fn config(&self) -> String {
        let Self { data_sha256, template_sha256, grader, engine, seed, limit, .. } = self;
        digest::of(&(data_sha256, template_sha256, grader, engine, seed, limit))
    }

    /// What a log is kept under: its benchmark, model and configuration.
    #[must_use]
    pub fn key(&self) -> String {
        digest::of(&(&self.benchmark_hash, &self.model_sha256, &self.config_hash))
    }

    /// The file's name within a folder of results.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.jsonl", self.benchmark.name.replace('/', "."), &self.key()[..12])
    }
}

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The task, its conversation as the model sees it.
    pub task: Task,
    /// Items of one cluster share something (a passage, a table), so that their errors go together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// One answer and its judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The item's id.
    pub item: String,
    /// Which of its samples this is, from 0.
    pub sample: u64,
    /// What was said.
    pub text: String,
    /// The judgement.
    pub score: Score,
    /// The forgiving judgement, where the benchmark has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lenient: Option<Score>,
    /// The answer that was found in the text, where the judge tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Tokens generated, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// How many of them are thought and no answer, where there is a thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought_tokens: Option<u64>,
    /// Why generation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
}

/// What one stretch of work took. Clocks stand in lines of their own, so that the other lines of equal
/// measurements are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Seconds.
    pub seconds: f64,
    /// Tokens generated in them.
    pub tokens: u64,
    /// What a server charged, in the currency of the price it was told; 0 where nothing was charged.
    #[serde(default)]
    pub cost: f64,
}

/// The last line of a complete log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Samples in the log: the items times the benchmark's samples.
    pub samples: u64,
    /// SHA-256 of all samples in the order of items, in whatever order they were written.
    pub content: String,
}

/// A line of a log, without its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Record {
    Header(Box<Header>),
    Item(Item),
    Sample(Sample),
    Spent(Spent),
    End(End),
}

impl Record {
    /// The line for this record after a line whose chain is `previous`, and its own chain.
    fn line(&self, previous: &str) -> Result<(String, String), serde_json::Error> {
        Ok(chain::seal(previous, &serde_json::to_string(self)?))
    }
}

/// SHA-256 of the items, each as canonical JSON.
fn data_sha256(items: &[Item]) -> String {
    let hashes: Vec<String> = items.iter().map(digest::of).collect();
    digest::sha256(hashes.iter().map(String::as_bytes))
}

/// SHA-256 of samples in the order of items.
fn content(items: &[Item], samples: &[Vec<Option<Sample>>]) -> String {
    let all = items.iter().zip(samples).flat_map(|(_, samples)| samples.iter().flatten());
    let hashes: Vec<String> = all.map(digest::of).collect();
    digest::sha256(hashes.iter().map(String::as_bytes))
}

/// A results file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what a log must be.
    #[error("{}:{line}: refused: {what}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong: thing, expected, got.
        what: String,
    },
    /// It is another measurement's.
    #[error("{}: results of another {what}; expected {expected}, got {got}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        what: &'static str,
        /// This measurement's.
        expected: String,
        /// The file's.
        got: String,
    },
}
