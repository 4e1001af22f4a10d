//! `relign measure`: RELIGN's side of the benches, one figure per process.

use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;
use relign_core::{Dtype, Generate, Request, RolloutWeights, Sampling, Section, Seed, Split};
use relign_model::attention::TreeAttention;
use relign_model::logits::TokenStats;
use relign_model::{Kind, Segment, Tensor, backward, take_grad};
use serde_json::json;

use super::say_json;
use crate::cli::Usage;
use crate::loaded::Loaded;
use crate::memory;

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
    Decode {
        /// The model
        model: String,
        /// f32 or bf16
        dtype: String,
        /// Sequences
        sequences: u64,
        /// Tokens in each
        tokens: usize,
        /// What weights are read as
        #[arg(default_value = "full", value_parser = super::sampling::weights)]
        weights: RolloutWeights,
    },
}

const PROMPT: &str = "Natalia sold clips to 48 of her friends in April, and then she sold half as many in May.";

pub(crate) fn run(what: &Measure) -> anyhow::Result<()> {
    match what {
        Measure::Export { model, folder } => {
            let loaded = Loaded::open(model, Dtype::F32)?;
            std::fs::create_dir_all(folder)?;
            let policy = &loaded.policy;
            relign_model::save_folder(folder, policy.config(), policy.named(), &loaded.tokenizer, Kind::Float)?;
            say_json(&json!({"folder": folder}))
        }
        Measure::Task { name, index } => {
            let section = Section { name: name.clone(), settings: serde_json::Map::new() };
            let task = relign_tasks::environment(&section)?.task(Split::Train, *index).map_err(anyhow::Error::msg)?;
            say_json(&task)
        }
        Measure::Train { model, dtype, sequences, length } => train(model, dtype, *sequences, *length),
        Measure::Decode { model, dtype, sequences, tokens, weights } => {
            decode(model, dtype, *sequences, *tokens, *weights)
        }
    }
}

fn dtype_of(word: &str) -> anyhow::Result<Dtype> {
    match word {
        "f32" => Ok(Dtype::F32),
        "bf16" => Ok(Dtype::Bf16),
        other => Err(Usage::error(format!("dtype: expected f32 or bf16, got {other}"))),
    }
}

fn figure(rate: f64) -> anyhow::Result<()> {
    say_json(&json!({"rate": rate, "rss_gb": memory::peak_rss() as f64 / 1e9}))
}

/// Next-token cross-entropy over separate sequences: no shared prefix, every token's loss taken.
fn train(model: &str, dtype: &str, sequences: usize, length: usize) -> anyhow::Result<()> {
    let mut loaded = Loaded::open(model, dtype_of(dtype)?)?;
    loaded.policy.track_gradients(true);
    let family = loaded.policy.family();
    let n = sequences * length;
    let seed = Seed(1);
    let tokens: Vec<i64> = (0..n as u64).map(|i| 10 + seed.below(i, 39_990) as i64).collect();
    let segments = (0..sequences).map(|i| Segment { start: i * length, len: length, parent: None }).collect();
    let mut attention = TreeAttention::new(segments);
    let positions = attention.positions();
    let input = Tensor::from_slice(&tokens);
    let mut seconds = Vec::new();
    for step in 0..4 {
        let started = Instant::now();
        let hidden = family.forward(&input, &positions, &mut attention);
        let flowing = hidden.detach();
        let grad = hidden.zeros_like();
        let head = family.head().weight().detach();
        let mut head_grad: Option<Tensor> = None;
        for first in (0..n).step_by(512) {
            let len = 512.min(n - first);
            let rows = flowing.narrow(0, first as i64, len as i64);
            let targets: Vec<u32> = (first..first + len).map(|i| tokens[(i + 1) % n] as u32).collect();
            let logits = rows.matmul(&head.tr());
            let stats = TokenStats::of(&logits, &targets, 1.0);
            let share = vec![-1.0 / n as f32; len];
            stats.backward(&logits, &targets, 1.0, &share, &vec![0.0; len]);
            grad.narrow(0, first as i64, len as i64).copy_(&logits.matmul(&head));
            let part = logits.tr().matmul(&rows);
            head_grad = Some(head_grad.map_or_else(|| part.shallow_clone(), |sum| sum + &part));
        }
        backward(&hidden, &grad).map_err(anyhow::Error::msg)?;
        for parameter in loaded.policy.parameters() {
            drop(take_grad(&parameter.compute));
        }
        drop(head_grad);
        if step > 0 {
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    figure(n as f64 / seconds[seconds.len() / 2])
}

fn decode(model: &str, dtype: &str, sequences: u64, tokens: usize, weights: RolloutWeights) -> anyhow::Result<()> {
    let mut loaded = Loaded::open_to_sample(model, dtype_of(dtype)?, weights)?;
    let prompt = loaded.tokenizer.encode(PROMPT);
    let mut engine = loaded.engine(weights, sequences as usize, 0)?;
    let mut rate = 0.0;
    // The first round warms up.
    for (round, count) in [(0, 4), (1, tokens)] {
        let sampling = Sampling { max_tokens: count, ignore_eos: true, ..Sampling::default() };
        let started = Instant::now();
        for id in 0..sequences {
            let seed = Seed(round).index(id);
            engine.submit(Request { id, prompt: prompt.clone(), sampling: sampling.clone(), seed })?;
        }
        let mut done = 0;
        while engine.in_flight() > 0 {
            done += engine.poll()?.iter().map(|completion| completion.tokens.len()).sum::<usize>();
        }
        rate = done as f64 / started.elapsed().as_secs_f64();
    }
    figure(rate)
}
