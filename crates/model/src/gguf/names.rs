//! Translates a GGUF file's architecture, metadata and tensor names into Hugging Face's, so that
//! everything downstream knows one vocabulary only.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Gguf;
use crate::CheckpointError;

/// One architecture that can be translated. A new one is one more line.
struct Architecture {
    /// `general.architecture`.
    gguf: &'static str,
    /// `model_type` of config.json.
    model_type: &'static str,
    /// `architectures` of config.json.
    class: &'static str,
    /// Whether the converter stored the rows of the query and key projections for interleaved
    /// rotary embeddings, in contrast to Hugging Face's split halves.
    interleaved: bool,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture { gguf: "llama", model_type: "llama", class: "LlamaForCausalLM", interleaved: true },
    Architecture { gguf: "qwen2", model_type: "qwen2", class: "Qwen2ForCausalLM", interleaved: false },
];

/// Tensors outside the layers.
const OUTER: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Modules of a layer.
const INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Frequency factors that Llama 3 converters add; they belong to the configuration, not the weights.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A GGUF file in Hugging Face's words.
pub(crate) struct Translation {
    /// config.json.
    pub(crate) config: Value,
    /// By Hugging Face name: the tensor's place in the file and, where its rows are interleaved, the
    /// number of heads to put in order.
    pub(crate) tensors: BTreeMap<String, (usize, Option<usize>)>,
}

/// Translates names and metadata.
pub(crate) fn translate(gguf: &Gguf) -> Result<Translation, CheckpointError> {
    let path = gguf.path();
    let unsupported = |what: String| CheckpointError::unsupported(path, what);
    let arch = gguf.text("general.architecture")?.unwrap_or("nothing");
    let Some(architecture) = ARCHITECTURES.iter().find(|a| a.gguf == arch) else {
        let known: Vec<_> = ARCHITECTURES.iter().map(|a| a.gguf).collect();
        return Err(unsupported(format!("general.architecture: expected one of {}, got {arch}", known.join(", "))));
    };
    if let Some(parts @ 2..) = gguf.unsigned("split.count")? {
        let what = format!("one of {parts} parts of a split file; join them first (llama-gguf-split --merge)");
        return Err(unsupported(what));
    }
    let key = |name: &str| format!("{arch}.{name}");
    let heads = gguf.required(&key("attention.head_count"))?;
    let kv_heads = gguf.unsigned(&key("attention.head_count_kv"))?.unwrap_or(heads);
    let hidden = gguf.required(&key("embedding_length"))?;
    if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        let got = format!("{heads} and {kv_heads}");
        return Err(CheckpointError::malformed(path, "attention heads", "a multiple of the key-value heads", got));
    }

    let mut tensors = BTreeMap::new();
    for (index, tensor) in gguf.tensors().iter().enumerate() {
        if tensor.name == ROPE_FACTORS {
            continue;
        }
        let name = hf_name(&tensor.name)
            .ok_or_else(|| unsupported(format!("tensor {} has no place in a {arch} model", tensor.name)))?;
        let order = match name.rsplit('.').nth(1) {
            Some("q_proj") if architecture.interleaved => Some(heads as usize),
            Some("k_proj") if architecture.interleaved => Some(kv_heads as usize),
            _ => None,
        };
        if let Some(heads) = order
            && !tensor.shape.first().is_some_and(|rows| rows.is_multiple_of(2 * heads))
        {
            let expected = format!("rows of {heads} heads of even size");
            let thing = format!("tensor {}", tensor.name);
            return Err(CheckpointError::malformed(path, thing, expected, format!("shape {:?}", tensor.shape)));
        }
        tensors.insert(name, (index, order));
    }

    let embedding = gguf
        .tensor("token_embd.weight")
        .filter(|t| t.shape.len() == 2)
        .ok_or_else(|| CheckpointError::malformed(path, "token_embd.weight", "a matrix", "none"))?;
    let head_dim = match gguf.unsigned(&key("attention.key_length"))? {
        Some(n) => n,
        None => gguf.unsigned(&key("rope.dimension_count"))?.unwrap_or(hidden / heads),
    };
    let rope_theta = gguf.float(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
    put("architectures", json!([architecture.class]));
    put("model_type", json!(architecture.model_type));
    put("hidden_size", json!(hidden));
    put("intermediate_size", json!(gguf.required(&key("feed_forward_length"))?));
    put("num_hidden_layers", json!(gguf.required(&key("block_count"))?));
    put("num_attention_heads", json!(heads));
    put("num_key_value_heads", json!(kv_heads));
    put("head_dim", json!(head_dim));
    put("hidden_act", json!("silu"));
    put("max_position_embeddings", json!(gguf.required(&key("context_length"))?));
    put("rms_norm_eps", json!(gguf.float(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5)));
    put("rope_theta", json!(rope_theta));
    put("vocab_size", json!(embedding.shape[0]));
    put("tie_word_embeddings", json!(gguf.tensor("output.weight").is_none()));
    if architecture.gguf == "llama" {
        put("attention_bias", json!(gguf.tensor("blk.0.attn_q.bias").is_some()));
        put("mlp_bias", json!(gguf.tensor("blk.0.ffn_up.bias").is_some()));
    } else {
        put("use_sliding_window", json!(false));
    }
    if let Some(scaling) = rope_scaling(gguf, arch, rope_theta, head_dim)? {
        put("rope_scaling", scaling);
    }
    for (name, key) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = gguf.unsigned(key)? {
            put(name, json!(id));
        }
    }
    Ok(Translation { config: Value::Object(config), tensors })
}

/// The Hugging Face name of a tensor.
fn hf_name(name: &str) -> Option<String> {
    if let Some((_, hf)) = OUTER.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*hf).to_owned());
    }
    let mut parts = name.strip_prefix("blk.")?.split('.');
    let (layer, module, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, hf) = INNER.iter().find(|(gguf, _)| *gguf == module)?;
    let number = layer.parse::<u32>().ok().filter(|n| n.to_string() == layer)?;
    (parts.next().is_none() && matches!(kind, "weight" | "bias")).then(|| format!("model.layers.{number}.{hf}.{kind}"))
}

/// The `rope_scaling` of config.json. Converters leave Llama 3's settings out and store the factors
/// they imply, so these are recognised among the settings in use (8 for Llama 3.1, 32 for 3.2).
fn rope_scaling(gguf: &Gguf, arch: &str, theta: f64, head_dim: u64) -> Result<Option<Value>, CheckpointError> {
    if let Some(tensor) = gguf.tensor(ROPE_FACTORS) {
        let mut factors = vec![0.0; tensor.len()];
        tensor.kind.dequantize(gguf.data(tensor), &mut factors);
        for factor in [8.0, 32.0] {
            let expected = llama3_factors(theta, head_dim, factor);
            let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-3 * b;
            if expected.len() == factors.len() && factors.iter().zip(&expected).all(near) {
                return Ok(Some(json!({
                    "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                })));
            }
        }
        let what = format!("{ROPE_FACTORS} holds factors of no known kind; expected those of Llama 3.1 or 3.2");
        return Err(CheckpointError::unsupported(gguf.path(), what));
    }
    match gguf.text(&format!("{arch}.rope.scaling.type"))? {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let factor = gguf.float(&format!("{arch}.rope.scaling.factor"))?.unwrap_or(1.0);
            Ok(Some(json!({"rope_type": "linear", "factor": factor})))
        }
        Some(other) => {
            let what = format!("{arch}.rope.scaling.type: expected none, linear or Llama 3's factors, got {other}");
            Err(CheckpointError::unsupported(gguf.path(), what))
        }
    }
}

/// Llama 3's division of each rotary frequency, for a context of 8192 stretched by `factor`.
fn llama3_factors(theta: f64, head_dim: u64, factor: f64) -> Vec<f64> {
    let frequency = |i: u64| theta.powf(-2.0 * i as f64 / head_dim as f64);
    (0..head_dim / 2).map(|i| crate::config::llama3(frequency(i), 8192.0, factor, 1.0, 4.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_modules_of_transformers() {
        for (gguf, hf) in [
            ("token_embd.weight", Some("model.embed_tokens.weight")),
            ("output.weight", Some("lm_head.weight")),
            ("blk.0.attn_q.bias", Some("model.layers.0.self_attn.q_proj.bias")),
            ("blk.29.ffn_norm.weight", Some("model.layers.29.post_attention_layernorm.weight")),
            ("blk.1.ffn_gate_exps.weight", None),
            ("blk.01.attn_q.weight", None),
            ("blk.1.attn_q.weight.x", None),
            ("v.blk.0.attn_q.weight", None),
        ] {
            assert_eq!(hf_name(gguf).as_deref(), hf, "{gguf}");
        }
    }

    /// The published values for Llama 3.2 1B (theta 500000, heads of 64): the first frequencies are
    /// untouched and the last ones divided by 32.
    #[test]
    fn llama3_factors_keep_the_fast_and_stretch_the_slow() {
        let factors = llama3_factors(500_000.0, 64, 32.0);
        assert_eq!(factors.len(), 32);
        assert!(factors[..10].iter().all(|f| *f == 1.0));
        assert!(factors[20..].iter().all(|f| *f == 32.0));
        assert!(factors.is_sorted());
    }
}
