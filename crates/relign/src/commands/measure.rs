//! `relign measure`: RELIGN's side of the benches, one figure per process.

mod decode;
mod roofline;
mod sandbox;
mod search;
mod train;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use relign_core::{Dtype, Section, Split};
use relign_model::Kind;
use serde_json::json;

use super::say_json;
use crate::loaded::Loaded;
use crate::memory;
use crate::usage::Usage;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Measure {
    /// Save MODEL as an f32 Hugging Face folder
    Export {
        /// The model
        model: String,
        /// The new folder
        folder: PathBuf,
    },
    /// Print a training task of an environment
    Task {
        /// The environment
        name: String,
        /// The task's index
        index: u64,
    },
    /// Forward and backward tokens per second
    Train {
        /// The model
        model: String,
        /// f32 or bf16
        dtype: String,
        /// Sequences
        sequences: usize,
        /// Tokens in each
        length: usize,
    },
    /// Generated tokens per second
    Decode(decode::Asked),
    /// Tokens per second that a tree search on many problems at once generates
    Search(search::Asked),
    /// Judged answers per second, and the errors among them
    Verify(verify::Asked),
    /// Programs a second in the sandbox
    Sandbox {
        /// JSON Lines: programs, or solutions with their tests
        file: PathBuf,
        /// Threads that ask at the same time
        threads: usize,
        /// How often each is run
        rounds: usize,
        /// The interpreter
        python: String,
    },
    /// What the machine can do: the memory's speed and that of matrix products
    Roofline,
}

pub(crate) fn run(what: &Measure) -> anyhow::Result<()> {
    match what {
        Measure::Export { model, folder } => {
            let loaded = Loaded::open(model, Dtype::F32, 0)?;
            std::fs::create_dir_all(folder)?;
            let policy = &loaded.policy;
            relign_model::save_folder(folder, policy.config(), policy.named(), &loaded.tokenizer, Kind::Float)?;
            say_json(&json!({"folder": folder, "source": loaded.path}))
        }
        Measure::Task { name, index } => {
            let section = Section { name: name.clone(), settings: serde_json::Map::new() };
            let task = relign_tasks::environment(&section)?.task(Split::Train, *index).map_err(anyhow::Error::msg)?;
            say_json(&task)
        }
        Measure::Train { model, dtype, sequences, length } => train::run(model, dtype, *sequences, *length),
        Measure::Decode(asked) => decode::run(asked),
        Measure::Search(asked) => search::run(asked),
        Measure::Verify(asked) => verify::run(asked),
        Measure::Sandbox { file, threads, rounds, python } => sandbox::run(file, *threads, *rounds, python),
        Measure::Roofline => roofline::run(),
    }
}

fn dtype_of(word: &str) -> anyhow::Result<Dtype> {
    match word {
        "f32" => Ok(Dtype::F32),
        "bf16" => Ok(Dtype::Bf16),
        other => Err(Usage::error(format!("dtype: expected f32 or bf16, got {other}"))),
    }
}

fn peak_gb() -> f64 {
    memory::peak_rss() as f64 / 1e9
}

fn figure(rate: f64) -> anyhow::Result<()> {
    say_json(&json!({"rate": rate, "rss_gb": peak_gb()}))
}
