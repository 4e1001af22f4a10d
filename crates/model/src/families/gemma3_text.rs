//! Gemma 3 (2503.19786), text: norms around attention and feed-forward part and on each head of queries
//! and keys, a GELU gate, scaled embeddings, and most layers with a window and rotary base of their own.
//! Of a checkpoint that also sees, the text part.

use serde_json::json;

use super::FamilyEntry;
use super::decoder::{Decoder, Norms, QueryKeyNorm, Style};
use crate::ops::Norm;

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    summary: "Gemma 3, its text part",
    defaults: || {
        json!({
            "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131_072, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "tie_word_embeddings": true, "use_sliding_window": true, "sliding_window": 4096,
            "sliding_window_pattern": 6,
        })
    },
    build: |config, builder| {
        let style = Style {
            norm: Norm { eps: config.norm_eps, offset: 1.0, round: false },
            norms: Norms::Around,
            query_key_norm: QueryKeyNorm::Heads,
            embedding_scale: Some((config.hidden as f64).sqrt()),
            ..Style::llama(config)
        };
        Ok(Box::new(Decoder::build(config, style, builder)?))
    },
};
