//! Phi-3 and Phi-4-mini (2404.14219, 2503.01743): the Llama block, stored with fused projections, with
//! rotations of a part of each head and LongRoPE (2402.13753).

use serde_json::json;

use super::FamilyEntry;
use super::decoder::{Decoder, Style};

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "phi3",
    architecture: "Phi3ForCausalLM",
    summary: "Phi-3, Phi-3.5 mini, Phi-4 and Phi-4-mini",
    defaults: || {
        json!({
            "partial_rotary_factor": 1.0, "original_max_position_embeddings": 4096, "use_sliding_window": true,
            "rms_norm_eps": 1e-5,
        })
    },
    build: |config, builder| {
        let style = Style { fused: true, ..Style::llama(config) };
        Ok(Box::new(Decoder::build(config, style, builder)?))
    },
};
