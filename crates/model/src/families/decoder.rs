//! The decoder that the families here are: a residual stream into which each layer adds what attention
//! and a gated feed-forward part say. What families do differently is data, a [`Style`].

use tch::Tensor;

use super::Family;
use crate::attention::Attention;
use crate::ops::{Norm, gated, rms_norm};
use crate::parameters::{Builder, Linear};
use crate::rotary::{Rotary, rotate, split_rotate};
use crate::{Config, LoadError};

/// What a family does in its own way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// How norms are computed.
    pub(super) norm: Norm,
    /// Where they stand.
    pub(super) norms: Norms,
    /// What of queries and keys is normalised before it is rotated.
    pub(super) query_key_norm: QueryKeyNorm,
    /// Whether the attention's output projection has a bias.
    pub(super) out_bias: bool,
    /// Whether the checkpoint has queries, keys and values in one tensor, and gate and up in another.
    pub(super) fused: bool,
    /// What embeddings are multiplied by.
    pub(super) embedding_scale: Option<f64>,
}

/// Where a layer's norms stand around attention and feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before each.
    Before,
    /// After each.
    After,
    /// Before and after each.
    Around,
}

/// What of queries and keys is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryKeyNorm {
    /// Nothing.
    None,
    /// Each head by itself, with weights that the heads share.
    Heads,
    /// All heads of a token together.
    Whole,
}

impl Style {
    /// Llama's.
    pub(super) fn llama(config: &Config) -> Self {
        Self {
            norm: Norm::rounded(config.norm_eps),
            norms: Norms::Before,
            query_key_norm: QueryKeyNorm::None,
            out_bias: config.attention_bias,
            fused: false,
            embedding_scale: None,
        }
    }
}

/// A decoder over its parameters.
pub(super) struct Decoder {
    config: Config,
    style: Style,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
}

struct Layer {
    attention_norms: Around,
    qkv: Linear,
    query_key_norms: Option<(Tensor, Tensor)>,
    out: Linear,
    ffn_norms: Around,
    gate_up: Linear,
    down: Linear,
}

/// The weights of the norms before and after a part of a layer.
struct Around {
    before: Option<Tensor>,
    after: Option<Tensor>,
}

impl Decoder {
    pub(super) fn build(config: &Config, style: Style, builder: &mut Builder<'_>) -> Result<Self, LoadError> {
        let embedding = builder.tensor("model.embed_tokens.weight", &[config.vocab, config.hidden])?;
        let layers = (0..config.layers).map(|i| Layer::build(i, config, style, builder)).collect::<Result<_, _>>()?;
        let norm = builder.tensor("model.norm.weight", &[config.hidden])?;
        let head = if config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let head = builder.head(head, config.vocab, config.hidden)?;
        Ok(Self { config: config.clone(), style, embedding, layers, norm, head })
    }

    /// Queries, keys and values of a layer, normalised and rotated.
    fn queries(&self, layer: &Layer, index: usize, qkv: &Tensor, rotary: &Rotary) -> (Tensor, Tensor, Tensor) {
        let c = &self.config;
        let local = c.windows[index].is_some() && c.local_rope.is_some();
        let rotation = rotary.table(usize::from(local));
        let Some((q_norm, k_norm)) = &layer.query_key_norms else {
            return split_rotate(qkv, rotation, c.heads, c.kv_heads, c.head_dim);
        };
        let [heads, kv_heads, dim] = [c.heads, c.kv_heads, c.head_dim].map(|n| n as i64);
        let parts = qkv.split_with_sizes([heads * dim, kv_heads * dim, kv_heads * dim], 1);
        let turned = |part: &Tensor, weight: &Tensor, heads: i64| {
            let part = match self.style.query_key_norm {
                QueryKeyNorm::Heads => part.reshape([-1, heads, dim]),
                _ => part.shallow_clone(),
            };
            rotate(&rms_norm(&part, weight, self.style.norm).view([-1, heads, dim]), rotation)
        };
        let (q, k) = (turned(&parts[0], q_norm, heads), turned(&parts[1], k_norm, kv_heads));
        (q, k, parts[2].reshape([-1, kv_heads, dim]))
    }

    fn normed(&self, x: &Tensor, weight: Option<&Tensor>) -> Tensor {
        weight.map_or_else(|| x.shallow_clone(), |weight| rms_norm(x, weight, self.style.norm))
    }
}

impl Layer {
    fn build(index: usize, config: &Config, style: Style, builder: &mut Builder<'_>) -> Result<Self, LoadError> {
        let (h, inner) = (config.hidden, config.intermediate);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let name = |rest: &str| format!("model.layers.{index}.{rest}");
        let [q_name, k_name, v_name, qkv_name] =
            ["q_proj", "k_proj", "v_proj", "qkv_proj"].map(|part| name(&format!("self_attn.{part}")));
        let [gate, up, gate_up] = ["gate_proj", "up_proj", "gate_up_proj"].map(|part| name(&format!("mlp.{part}")));
        let apart = [(&*q_name, q), (&*k_name, kv), (&*v_name, kv)];
        let (qkv_parts, ffn_parts) = if style.fused {
            (vec![(&*qkv_name, q + 2 * kv)], vec![(&*gate_up, 2 * inner)])
        } else {
            (apart.to_vec(), vec![(&*gate, inner), (&*up, inner)])
        };
        // The names follow transformers, whose `post_attention_layernorm` stands before the feed-forward
        // part where there are two norms, and after attention where there are more.
        let (attention, ffn) = match style.norms {
            Norms::Before => ((Some("input_layernorm"), None), (Some("post_attention_layernorm"), None)),
            Norms::After => ((None, Some("post_attention_layernorm")), (None, Some("post_feedforward_layernorm"))),
            Norms::Around => (
                (Some("input_layernorm"), Some("post_attention_layernorm")),
                (Some("pre_feedforward_layernorm"), Some("post_feedforward_layernorm")),
            ),
        };
        let norm_width = match style.query_key_norm {
            QueryKeyNorm::None => None,
            QueryKeyNorm::Heads => Some((config.head_dim, config.head_dim)),
            QueryKeyNorm::Whole => Some((q, kv)),
        };
        let norm = |part: Option<&str>, builder: &mut Builder<'_>| {
            part.map(|part| builder.tensor(&name(&format!("{part}.weight")), &[h])).transpose()
        };
        let out = name("self_attn.o_proj");
        let down = name("mlp.down_proj");
        Ok(Self {
            attention_norms: Around { before: norm(attention.0, builder)?, after: norm(attention.1, builder)? },
            qkv: builder.linear(&qkv_name, &qkv_parts, h, config.attention_bias)?,
            query_key_norms: match norm_width {
                None => None,
                Some((q, k)) => Some((
                    builder.tensor(&name("self_attn.q_norm.weight"), &[q])?,
                    builder.tensor(&name("self_attn.k_norm.weight"), &[k])?,
                )),
            },
            out: builder.linear(&out, &[(&out, h)], q, style.out_bias)?,
            ffn_norms: Around { before: norm(ffn.0, builder)?, after: norm(ffn.1, builder)? },
            gate_up: builder.linear(&gate_up, &ffn_parts, h, config.mlp_bias)?,
            down: builder.linear(&down, &[(&down, h)], inner, config.mlp_bias)?,
        })
    }
}

impl Family for Decoder {
    fn embed(&self, tokens: &Tensor) -> Tensor {
        let tokens = tokens.to_device(self.embedding.device());
        let rows = Tensor::embedding(&self.embedding, &tokens, -1, false, false);
        match self.style.embedding_scale {
            None => rows,
            // The factor has the weights' type, as in transformers.
            Some(scale) => rows * Tensor::from(scale).to_kind(self.embedding.kind()),
        }
    }

    fn rotary(&self, positions: &[i64]) -> Rotary {
        let ropes: Vec<_> = std::iter::once(&self.config.rope).chain(&self.config.local_rope).collect();
        Rotary::new(positions, &ropes).to_device(self.embedding.device())
    }

    fn layer(&self, index: usize, x: &Tensor, rotary: &Rotary, attention: &mut dyn Attention) -> Tensor {
        let (layer, c) = (&self.layers[index], &self.config);
        let qkv = layer.qkv.forward(&self.normed(x, layer.attention_norms.before.as_ref()));
        let (q, k, v) = self.queries(layer, index, &qkv, rotary);
        let seen = attention.attend(index, &q, &k, &v, c.attention_scale, c.windows[index]);
        let x = x + self.normed(&layer.out.forward(&seen), layer.attention_norms.after.as_ref());
        let gate_up = layer.gate_up.forward(&self.normed(&x, layer.ffn_norms.before.as_ref()));
        let said = layer.down.forward(&gated(&gate_up, c.activation));
        x + self.normed(&said, layer.ffn_norms.after.as_ref())
    }

    fn finish(&self, x: &Tensor) -> Tensor {
        rms_norm(x, &self.norm, self.style.norm)
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }
}
