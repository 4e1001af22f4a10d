//! Qwen2 and Qwen2.5 (2407.10671): the Llama block with a bias on queries, keys and values, and a sliding
//! window in the upper layers where a checkpoint turns it on.

use serde_json::json;

use super::FamilyEntry;
use super::decoder::{Decoder, Style};
use crate::Config;

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    summary: "Qwen2 and Qwen2.5, R1-Distill-Qwen",
    defaults: || json!({"sliding_window": 4096, "max_window_layers": 28}),
    build: |config, builder| {
        let config = Config { attention_bias: true, ..config.clone() };
        let style = Style { out_bias: false, ..Style::llama(&config) };
        Ok(Box::new(Decoder::build(&config, style, builder)?))
    },
};
