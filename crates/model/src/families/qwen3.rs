//! Qwen3, the dense models (2505.09388): the Llama block with each head of queries and keys normalised.

use serde_json::json;

use super::FamilyEntry;
use super::decoder::{Decoder, QueryKeyNorm, Style};

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "qwen3",
    architecture: "Qwen3ForCausalLM",
    summary: "Qwen3, dense",
    defaults: || json!({"head_dim": 128, "sliding_window": 4096, "max_window_layers": 28}),
    build: |config, builder| {
        let style = Style { query_key_norm: QueryKeyNorm::Heads, ..Style::llama(config) };
        Ok(Box::new(Decoder::build(config, style, builder)?))
    },
};
