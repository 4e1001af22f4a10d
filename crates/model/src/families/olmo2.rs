//! OLMo 2 (2501.00656): norms after attention and feed-forward part instead of before, and on all queries
//! and all keys of a token together.

use serde_json::json;

use super::FamilyEntry;
use super::decoder::{Decoder, Norms, QueryKeyNorm, Style};
use crate::ops::Norm;

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "olmo2",
    architecture: "Olmo2ForCausalLM",
    summary: "OLMo 2",
    defaults: || json!({"rms_norm_eps": 1e-5}),
    build: |config, builder| {
        let style = Style {
            norm: Norm { round: false, ..Norm::rounded(config.norm_eps) },
            norms: Norms::After,
            query_key_norm: QueryKeyNorm::Whole,
            ..Style::llama(config)
        };
        Ok(Box::new(Decoder::build(config, style, builder)?))
    },
};
