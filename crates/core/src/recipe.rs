//! A run, written down.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Device, Sampling, Seed, ThoughtMarkers};

/// Everything a training run depends on. A TOML file on disk; keys left out take their defaults, keys
/// that do not exist are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What to call it.
    #[serde(default)]
    pub name: String,
    /// The source of all randomness.
    #[serde(default = "one")]
    pub seed: Seed,
    /// The model to train.
    pub model: ModelSection,
    /// Where tasks come from: the environment's name and its settings.
    pub environment: Section,
    /// What is rewarded: named parts and their weights. Left out, the environment's own score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardSection>,
    /// How trees are grown: the strategy's name and its settings.
    #[serde(default = "sample")]
    pub strategy: Section,
    /// How tokens are sampled.
    #[serde(default)]
    pub sampling: Sampling,
    /// How credit becomes a loss: the algorithm's name and its settings.
    pub algorithm: Section,
    /// How gradients become weights.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// How much and how big.
    #[serde(default)]
    pub run: RunSection,
    /// What is measured on held-out tasks.
    #[serde(default)]
    pub eval: EvalSection,
    /// What is kept.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
}

fn one() -> Seed {
    Seed(1)
}

fn sample() -> Section {
    Section { name: "sample".to_owned(), settings: Map::new() }
}

/// Something from a registry, by name, with its settings beside the name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// The registry name; `relign list` shows them all.
    pub name: String,
    /// Its settings; `relign explain NAME` shows them.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// One part of the reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RewardSection {
    /// The reward's registry name.
    pub name: String,
    /// What its value is multiplied by before the parts are added.
    #[serde(default = "unit")]
    pub weight: f64,
    /// A gate: the part counts only where an earlier part allows it, and is worth 0 elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Its settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// What another part of the reward must have found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The name of an earlier part; a second one of that name is called `NAME#2`.
    pub reward: String,
    /// The least that it must be worth, its weight aside. Left out: its verdict must be that the answer
    /// is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

fn unit() -> f64 {
    1.0
}

/// The model to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// A built-in name (`smollm2`, `qwen`), a Hugging Face folder, a GGUF file, a hub id or a run's folder.
    pub path: String,
    /// Where it is computed: `cpu`, or `cuda:N` for the GPU of that number.
    #[serde(default)]
    pub device: Device,
    /// The type of products in sampling and training; master weights are f32 always.
    #[serde(default)]
    pub dtype: Dtype,
    /// What sampling reads weights as; training reads them in full always.
    #[serde(default)]
    pub rollout_weights: RolloutWeights,
    /// What keys and values are kept as while tokens are sampled.
    #[serde(default)]
    pub kv_cache: KvCache,
    /// Variables for the chat template, such as `enable_thinking`, `tools` and `documents`; `chat_template` names one of
    /// several templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chat_template_kwargs: BTreeMap<String, serde_json::Value>,
    /// Pairs of texts that open and end a thought, beside the usual ones (`<think>`, `</think>` and their like):
    /// `[["<scratchpad>", "</scratchpad>"]]`.
    #[serde(default, skip_serializing_if = "ThoughtMarkers::is_empty")]
    pub thought_markers: ThoughtMarkers,
}

/// What generation keeps keys and values as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvCache {
    /// In the type of products.
    #[default]
    Full,
    /// Rounded to bf16.
    Bf16,
    /// 8 bits with a scale for each position of a head.
    Int8,
}

/// What generation reads the weights of linear layers as. Fewer bits are read and multiplied faster, and move the
/// distribution that is sampled from: a run's `engine_gap` says how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutWeights {
    /// As they are trained: in the type of products.
    #[default]
    Full,
    /// Rounded to bf16, and widened as they are multiplied where the CPU has no bf16 products.
    Bf16,
    /// 8 bits with a scale for every 32 weights, as GGUF's Q8_0.
    Int8,
    /// 4 bits with a scale for every 32 weights, as GGUF's Q4_0.
    Q4,
}

/// A type to compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bf16 on GPUs and where the CPU multiplies it in hardware (AMX, AVX512-BF16), f32 elsewhere.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
}

/// AdamW (Loshchilov and Hutter, 1711.05101) with f32 states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSection {
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, on matrices alone.
    pub weight_decay: f64,
    /// Optimizer steps over which the rate rises linearly from 0.
    pub warmup: u64,
    /// What the rate does afterwards.
    pub schedule: Schedule,
    /// Gradients are scaled down to this global norm; 0 leaves them.
    pub clip_norm: f64,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            lr: 1e-6,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            warmup: 0,
            schedule: Schedule::Constant,
            clip_norm: 1.0,
        }
    }
}

/// What the learning rate does after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls linearly to 0 at the last step.
    Linear,
    /// It falls along half a cosine to 0 at the last step.
    Cosine,
}

/// How much and how big.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// Training steps: rounds of sampling and learning.
    pub steps: u64,
    /// Tasks sampled in a step; each becomes one group.
    pub tasks: usize,
    /// Optimizer steps that one pass over a step's samples is split into.
    pub minibatches: usize,
    /// Passes over a step's samples.
    pub epochs: usize,
    /// Tokens forwarded and backpropagated at once; a larger group is split.
    pub batch_tokens: usize,
    /// Keep only the input of each layer and compute the rest again in the backward pass: a third
    /// more work, and the memory of one layer instead of all.
    pub recompute: bool,
    /// Sequences the engine works on at once.
    pub sequences: usize,
    /// Longest sequence in tokens, prompt included; 0 takes the model's.
    pub context: usize,
    /// Seconds a reward may take before its sample counts as failed.
    pub reward_seconds: f64,
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            steps: 100,
            tasks: 8,
            minibatches: 1,
            epochs: 1,
            batch_tokens: 4096,
            recompute: false,
            sequences: 128,
            context: 0,
            reward_seconds: 10.0,
        }
    }
}

/// What is measured on held-out tasks, before and after training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSection {
    /// Held-out tasks; 0 measures nothing.
    pub items: u64,
    /// Measure every so many steps as well; 0 only before and after.
    pub every: u64,
    /// Temperature; 0 is greedy.
    pub temperature: f32,
    /// Samples of each task.
    pub samples: u64,
    /// Benchmarks that the model will be measured on afterwards, by name or file: before anything is trained, their
    /// items are looked for among the training tasks, as the held-out tasks always are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<String>,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self { items: 256, every: 0, temperature: 0.0, samples: 1, against: Vec::new() }
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSection {
    /// Save every so many steps; 0 only at the end and when interrupted.
    pub every: u64,
    /// Keep trees in `trees.jsonl.zst`.
    pub trees: bool,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every: 20, trees: true }
    }
}
