//! What the commands that make tokens have in common: options and a bar.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use relign_core::{Dtype, KvCache, RolloutWeights, Sampling};

use crate::loaded::Read;

/// How answers are sampled.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SamplingArgs {
    /// At most this many tokens an answer [default: 256, or what a run's recipe says]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_tokens: Option<usize>,
    /// 0 takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// The source of all randomness
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The type of products: auto, f32 or bf16
    #[arg(long, value_name = "TYPE", default_value = "auto", value_parser = dtype)]
    pub(crate) dtype: Dtype,
    /// What linear layers are read as: full, bf16, int8 or q4. Fewer bits are faster and less exact
    #[arg(long, value_name = "WEIGHTS", default_value = "full", value_parser = weights)]
    pub(crate) weights: RolloutWeights,
    /// What keys and values are kept as: full, bf16 or int8
    #[arg(long, value_name = "TYPE", default_value = "full", value_parser = kv_cache)]
    pub(crate) kv_cache: KvCache,
    /// The base model, where MODEL is a PEFT folder [default: what the folder names]
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<String>,
}

impl SamplingArgs {
    /// What the engine reads.
    pub(crate) fn read(&self) -> Read {
        Read { weights: self.weights, kv_cache: self.kv_cache }
    }

    /// In the engine's words; `max_tokens` is taken where the call names no limit.
    pub(crate) fn sampling(&self, max_tokens: usize) -> Sampling {
        let max_tokens = self.max_tokens.unwrap_or(max_tokens);
        Sampling { temperature: self.temperature, max_tokens, ..Sampling::default() }
    }
}

/// A count from 1 up.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number from 1 up".to_owned())
}

fn temperature(text: &str) -> Result<f32, String> {
    let fits = |t: &f32| t.is_finite() && *t >= 0.0;
    text.parse().ok().filter(fits).ok_or_else(|| "expected a number from 0 up".to_owned())
}

fn dtype(text: &str) -> Result<Dtype, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected auto, f32 or bf16".to_owned())
}

/// A word for what weights are read as.
pub(crate) fn weights(text: &str) -> Result<RolloutWeights, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected full, bf16, int8 or q4".to_owned())
}

/// A word for what keys and values are kept as.
pub(crate) fn kv_cache(text: &str) -> Result<KvCache, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected full, bf16 or int8".to_owned())
}

/// A bar on stderr; nothing where that is no terminal.
pub(crate) fn bar(total: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30.cyan/dim} {pos}/{len}  {msg}  {eta} left");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Peak memory of this process in gigabytes.
pub(crate) fn peak_gb() -> f64 {
    crate::memory::peak_rss() as f64 / 1e9
}
