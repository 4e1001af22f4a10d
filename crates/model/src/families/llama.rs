//! Llama 1 to 3 (2302.13971, 2407.21783): pre-norm, rotary positions, SwiGLU, grouped queries; and Mistral
//! (2310.06825), which adds a sliding window. SmolLM2, R1-Distill-Llama and other checkpoints of these
//! `model_type`s.

use serde_json::{Value, json};

use super::FamilyEntry;
use super::decoder::{Decoder, Style};

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "llama",
    architecture: "LlamaForCausalLM",
    summary: "Llama 1 to 3 and its like: SmolLM2, R1-Distill-Llama",
    defaults: || Value::Null,
    build: |config, builder| Ok(Box::new(Decoder::build(config, Style::llama(config), builder)?)),
};

pub(super) const MISTRAL: FamilyEntry = FamilyEntry {
    name: "mistral",
    architecture: "MistralForCausalLM",
    summary: "Mistral, with and without its sliding window",
    defaults: || json!({"use_sliding_window": true, "sliding_window": 4096}),
    build: ENTRY.build,
};
