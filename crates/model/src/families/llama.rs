//! Llama (Touvron et al., 2302.13971): pre-norm, rotary positions, SwiGLU, grouped queries.
//! SmolLM2 and other checkpoints of `model_type` `llama`.

use serde_json::Value;
use tch::Tensor;

use super::{Family, FamilyEntry};
use crate::attention::Attention;
use crate::ops::{Norm, gated, rms_norm};
use crate::parameters::{Builder, Linear};
use crate::rotary::{Rotary, split_rotate};
use crate::{Config, LoadError};

pub(super) const ENTRY: FamilyEntry = FamilyEntry {
    name: "llama",
    architecture: "LlamaForCausalLM",
    summary: "Llama and its like: SmolLM2",
    defaults: || Value::Null,
    build: |config, builder| Ok(Box::new(Llama::build(config, builder)?)),
};

/// The Llama block; Qwen2 differs only in its attention bias.
pub(super) struct Llama {
    config: Config,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
}

struct Layer {
    attention_norm: Tensor,
    qkv: Linear,
    out: Linear,
    ffn_norm: Tensor,
    gate_up: Linear,
    down: Linear,
}

impl Llama {
    pub(super) fn build(config: &Config, builder: &mut Builder<'_>) -> Result<Self, LoadError> {
        let (h, q, kv) = (config.hidden, config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let bias = config.attention_bias;
        let embedding = builder.tensor("model.embed_tokens.weight", &[config.vocab, h])?;
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let name = |rest: &str| format!("model.layers.{i}.{rest}");
            layers.push(Layer {
                attention_norm: builder.tensor(&name("input_layernorm.weight"), &[h])?,
                qkv: builder.linear(
                    &name("self_attn.qkv_proj"),
                    &[(&name("self_attn.q_proj"), q), (&name("self_attn.k_proj"), kv), (&name("self_attn.v_proj"), kv)],
                    h,
                    bias,
                )?,
                out: builder.linear(
                    &name("self_attn.o_proj"),
                    &[(&name("self_attn.o_proj"), h)],
                    q,
                    bias && config.model_type == "llama",
                )?,
                ffn_norm: builder.tensor(&name("post_attention_layernorm.weight"), &[h])?,
                gate_up: builder.linear(
                    &name("mlp.gate_up_proj"),
                    &[(&name("mlp.gate_proj"), config.intermediate), (&name("mlp.up_proj"), config.intermediate)],
                    h,
                    config.mlp_bias,
                )?,
                down: builder.linear(
                    &name("mlp.down_proj"),
                    &[(&name("mlp.down_proj"), h)],
                    config.intermediate,
                    config.mlp_bias,
                )?,
            });
        }
        let norm = builder.tensor("model.norm.weight", &[h])?;
        let head = if config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let head = builder.head(head, config.vocab, h)?;
        Ok(Self { config: config.clone(), embedding, layers, norm, head })
    }
}

impl Family for Llama {
    fn embed(&self, tokens: &Tensor) -> Tensor {
        Tensor::embedding(&self.embedding, tokens, -1, false, false)
    }

    fn rotary(&self, positions: &[i64]) -> Rotary {
        Rotary::new(positions, &[&self.config.rope])
    }

    fn layer(&self, index: usize, x: &Tensor, rotary: &Rotary, attention: &mut dyn Attention) -> Tensor {
        let (layer, c) = (&self.layers[index], &self.config);
        let norm = Norm::rounded(c.norm_eps);
        let qkv = layer.qkv.forward(&rms_norm(x, &layer.attention_norm, norm));
        let (q, k, v) = split_rotate(&qkv, rotary.table(0), c.heads, c.kv_heads, c.head_dim);
        let seen = attention.attend(index, &q, &k, &v, c.attention_scale, c.windows[index]);
        let x = x + layer.out.forward(&seen);
        let hidden = gated(&layer.gate_up.forward(&rms_norm(&x, &layer.ffn_norm, norm)), c.activation);
        x + layer.down.forward(&hidden)
    }

    fn finish(&self, x: &Tensor) -> Tensor {
        rms_norm(x, &self.norm, Norm::rounded(self.config.norm_eps))
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }
}
