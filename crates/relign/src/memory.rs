//! How much memory there is, and how much a model and a run need: the one account that `doctor` and `train --dry-run`
//! give. `docs/log.md` holds it against measured peaks.

use relign_core::{KvCache, Recipe, RolloutWeights};
use relign_model::kv::KvPool;
use relign_model::{Config, Kind, Policy};
use serde::Serialize;

/// libtorch, the tokenizer and the program itself.
pub(crate) const PROGRAM: u64 = 300 << 20;

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
    program: u64,
}

impl Needed {
    /// All of it. Keys and values are given back while the trainer works, so only the larger of the two counts.
    pub(crate) fn total(&self) -> u64 {
        let training = self.gradients + self.activations + self.logits;
        self.weights + self.optimizer + self.reference + self.program + training.max(self.keys_and_values)
    }

    /// Of the weights, all copies of them.
    #[cfg(test)]
    pub(crate) fn weights(&self) -> u64 {
        self.weights
    }

    /// Each part with its name.
    pub(crate) fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("reference", self.reference),
            ("activations", self.activations),
            ("logits", self.logits),
            ("keys and values", self.keys_and_values),
            ("libtorch and program", self.program),
        ]
    }
}

/// How many numbers a model has, by what they are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The embedding.
    embedding: u64,
    /// An output matrix of its own; 0 where that is the embedding.
    head: u64,
    /// The matrices of the layers.
    linear: u64,
    /// Norms and biases.
    vectors: u64,
}

impl Numbers {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let (h, layers, inner) = (config.hidden as u64, config.layers as u64, config.intermediate as u64);
        let (q, kv) = ((config.heads * config.head_dim) as u64, (config.kv_heads * config.head_dim) as u64);
        let embedding = config.vocab as u64 * h;
        let biases = if config.attention_bias { q + 2 * kv } else { 0 };
        Self {
            embedding,
            head: if config.tied { 0 } else { embedding },
            linear: layers * (h * (q + 2 * kv) + q * h + 3 * h * inner),
            vectors: layers * (2 * h + biases) + h,
        }
    }

    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.embedding + self.head + self.linear + self.vectors
    }
}

/// Bytes of the copy of all matrices that sampling reads as `weights` in a model computed in `kind`; 0 where it reads
/// them as checkpoints have them.
fn packed(numbers: Numbers, kind: Kind, weights: RolloutWeights) -> u64 {
    let weights = match weights {
        RolloutWeights::Bf16 if kind == Kind::BFloat16 => RolloutWeights::Full,
        weights => weights,
    };
    if weights == RolloutWeights::Full && !Policy::is_reordered(kind) {
        return 0;
    }
    // Bits of 32 weights, which share a scale of 16 bits where they are rounded to so few.
    let group = |weights| match weights {
        RolloutWeights::Full => 32 * 8 * kind.elt_size_in_bytes() as u64,
        RolloutWeights::Bf16 => 32 * 16,
        RolloutWeights::Int8 => 32 * 8 + 16,
        RolloutWeights::Q4 => 32 * 4 + 16,
    };
    // The output matrix stays at 8 bits where others have 4.
    let last = group(if weights == RolloutWeights::Q4 { RolloutWeights::Int8 } else { weights });
    let output = if numbers.head > 0 { numbers.head } else { numbers.embedding };
    (numbers.linear / 32 * group(weights) + output / 32 * last) / 8
}

/// Bytes of the weights of a model that is only sampled from, computed in `kind`, its linear layers read as `weights`.
pub(crate) fn weights_to_sample(config: &Config, kind: Kind, weights: RolloutWeights) -> u64 {
    let (numbers, size) = (Numbers::of(config), kind.elt_size_in_bytes() as u64);
    match packed(numbers, kind, weights) {
        0 => numbers.total() * size,
        // The embedding's rows are read as they are, also where they are the output matrix.
        packed => (numbers.embedding + numbers.vectors) * size + packed,
    }
}

/// Bytes that a token's keys and values take in a model that computes in `kind`.
pub(crate) fn kv_per_token(config: &Config, kind: Kind, cache: KvCache) -> u64 {
    (KvPool::new(config, kind, cache).block_bytes() / KvPool::BLOCK) as u64
}

/// Bytes for `sequences` sequences of `length` tokens each, in whole blocks.
pub(crate) fn kv_bytes(per_token: u64, sequences: u64, length: u64) -> u64 {
    sequences * length.next_multiple_of(KvPool::BLOCK as u64) * per_token
}

/// How a model is trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    /// What products are computed in.
    pub(crate) kind: Kind,
    /// Tokens that are forwarded at once.
    pub(crate) tokens: u64,
    /// Whether activations are computed again.
    pub(crate) recompute: bool,
    /// Whether a copy of the first weights stays.
    pub(crate) reference: bool,
    /// What sampling reads.
    pub(crate) rollouts: RolloutWeights,
}

impl Training {
    /// An estimate from the model's shape; keys and values apart.
    pub(crate) fn needed(self, config: &Config) -> Needed {
        let size = self.kind.elt_size_in_bytes() as u64;
        let (h, layers, inner) = (config.hidden as u64, config.layers as u64, config.intermediate as u64);
        let (q, kv) = ((config.heads * config.head_dim) as u64, (config.kv_heads * config.head_dim) as u64);
        let numbers = Numbers::of(config);
        let weights = numbers.total();
        let copies = if self.kind == Kind::Float { 4 } else { 6 };
        // What one layer keeps for its backward pass: both norms' inputs and outputs, the projections
        // before and after rotation, attention's output, the feed-forward layer's two inner stages.
        let layer = size * (4 * h + 2 * (q + 2 * kv) + q + 3 * inner);
        let activations = if self.recompute { layer + layers * size * h } else { layers * layer };
        Needed {
            weights: weights * copies + packed(numbers, self.kind, self.rollouts),
            // The sums in f32, and what one backward pass leaves.
            gradients: weights * (4 + size),
            optimizer: weights * 8,
            reference: if self.reference { weights * size } else { 0 },
            activations: activations * self.tokens,
            // A block of logits, its gradient, and the output matrix's share of one block.
            logits: 2 * (128 << 20) + config.vocab as u64 * h * size,
            keys_and_values: 0,
            program: PROGRAM,
        }
    }
}

/// An estimate from the model's shape and the recipe.
pub(crate) fn needed(config: &Config, recipe: &Recipe, kind: Kind, reference: bool) -> Needed {
    let (tokens, recompute) = (recipe.run.batch_tokens as u64, recipe.run.recompute);
    let group = recipe.strategy.settings.get("n").and_then(serde_json::Value::as_u64).unwrap_or(8);
    let sequences = (recipe.run.sequences as u64).min(recipe.run.tasks as u64 * group);
    let length = recipe.sampling.max_tokens as u64 + 128;
    let per_token = kv_per_token(config, kind, recipe.model.kv_cache);
    let rollouts = recipe.model.rollout_weights;
    Needed {
        keys_and_values: kv_bytes(per_token, sequences, length),
        ..Training { kind, tokens, recompute, reference, rollouts }.needed(config)
    }
}

/// Memory that is free for this process, or becomes so when files' contents are let go of, in bytes; 0 where the system
/// does not say.
pub(crate) fn free() -> u64 {
    relign_engine::memory::here().free
}

/// The memory that this process may use, in bytes; 0 where the system does not say.
pub(crate) fn total() -> u64 {
    relign_engine::memory::here().total
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
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} kB", bytes as f64 / 1e3),
    }
}
