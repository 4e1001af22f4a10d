//! How much memory there is, and how much a run needs.

use relign_core::Recipe;
use relign_model::kv::KvPool;
use relign_model::{Config, Kind};
use serde::Serialize;

/// What a run's memory is made of, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Needed {
    weights: u64,
    gradients: u64,
    optimizer: u64,
    reference: u64,
    activations: u64,
    logits: u64,
    keys_and_values: u64,
}

impl Needed {
    /// All of it. Keys and values are given back while the trainer works, so only the larger of the two counts.
    pub(crate) fn total(&self) -> u64 {
        let training = self.gradients + self.activations + self.logits;
        self.weights + self.optimizer + self.reference + training.max(self.keys_and_values)
    }

    /// Each part with its name.
    pub(crate) fn parts(&self) -> [(&'static str, u64); 7] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("reference", self.reference),
            ("activations", self.activations),
            ("logits", self.logits),
            ("keys and values", self.keys_and_values),
        ]
    }
}

/// An estimate from the model's shape and the recipe.
pub(crate) fn needed(config: &Config, recipe: &Recipe, kind: Kind, reference: bool) -> Needed {
    let size = kind.elt_size_in_bytes() as u64;
    let (h, layers, inner) = (config.hidden as u64, config.layers as u64, config.intermediate as u64);
    let (q, kv) = ((config.heads * config.head_dim) as u64, (config.kv_heads * config.head_dim) as u64);
    let embedding = config.vocab as u64 * h * if config.tied { 1 } else { 2 };
    let weights = embedding + layers * (h * (q + 2 * kv) + q * h + 3 * h * inner);
    let copies = if kind == Kind::Float { 4 } else { 6 };
    let tokens = recipe.run.batch_tokens as u64;
    // What one layer keeps for its backward pass: both norms' inputs and outputs, the projections
    // before and after rotation, attention's output, the feed-forward layer's two inner stages.
    let layer = size * (4 * h + 2 * (q + 2 * kv) + q + 3 * inner);
    let activations = if recipe.run.recompute { layer + layers * size * h } else { layers * layer };
    let group = recipe.strategy.settings.get("n").and_then(serde_json::Value::as_u64).unwrap_or(8);
    let sequences = (recipe.run.sequences as u64).min(recipe.run.tasks as u64 * group);
    let length = recipe.sampling.max_tokens as u64 + 128;
    let block = KvPool::BLOCK as u64;
    Needed {
        weights: weights * copies,
        gradients: weights * 4,
        optimizer: weights * 8,
        reference: if reference { weights * size } else { 0 },
        activations: activations * tokens,
        logits: 2 * (128 << 20),
        keys_and_values: sequences * length.div_ceil(block) * block * 2 * layers * kv * size,
    }
}

/// The machine's memory in bytes; 0 where the system does not say.
pub(crate) fn total() -> u64 {
    kilobytes("/proc/meminfo", "MemTotal:")
}

/// The process's largest resident memory so far, in bytes; 0 where the system does not say.
pub(crate) fn peak_rss() -> u64 {
    kilobytes("/proc/self/status", "VmHWM:")
}

fn kilobytes(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    value.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// The processor's name as the system gives it.
pub(crate) fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|l| l.split_once(':')).map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Bytes for people.
pub(crate) fn human(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes >= 1.0 { format!("{gigabytes:.1} GB") } else { format!("{:.0} MB", bytes as f64 / 1e6) }
}
