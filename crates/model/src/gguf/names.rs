//! Translates a GGUF file's architecture, metadata and tensor names into Hugging Face's, so that
//! everything downstream knows one vocabulary only.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Gguf;
use super::architectures::Architecture;
use super::rope;
use crate::CheckpointError;

/// A GGUF file in Hugging Face's words.
pub(crate) struct Translation {
    /// config.json.
    pub(crate) config: Value,
    /// By Hugging Face name.
    pub(crate) tensors: BTreeMap<String, Place>,
}

/// Where a tensor is, and what converters did to its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Among the file's tensors.
    pub(crate) index: usize,
    /// What must be undone.
    pub(crate) change: Change,
}

/// What a converter did to a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It interleaved the halves of each of so many heads.
    Interleaved(usize),
    /// It added 1.
    OneAdded,
}

/// Translates names and metadata.
pub(crate) fn translate(gguf: &Gguf) -> Result<Translation, CheckpointError> {
    let path = gguf.path();
    let unsupported = |what: String| CheckpointError::unsupported(path, what);
    let arch = gguf.text("general.architecture")?.unwrap_or("nothing");
    let Some(architecture) = Architecture::find(arch) else {
        let known = Architecture::names();
        return Err(unsupported(format!("general.architecture: expected one of {known}, got {arch}")));
    };
    let key = |name: &str| format!("{arch}.{name}");
    let heads = gguf.required(&key("attention.head_count"))?;
    let kv_heads = gguf.unsigned(&key("attention.head_count_kv"))?.unwrap_or(heads);
    if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        let got = format!("{heads} and {kv_heads}");
        return Err(CheckpointError::malformed(path, "attention heads", "a multiple of the key-value heads", got));
    }
    let tensors = tensors(gguf, architecture, heads as usize, kv_heads as usize)?;
    let config = config(gguf, architecture, heads, kv_heads)?;
    Ok(Translation { config: Value::Object(config), tensors })
}

fn tensors(
    gguf: &Gguf,
    architecture: &Architecture,
    heads: usize,
    kv_heads: usize,
) -> Result<BTreeMap<String, Place>, CheckpointError> {
    let mut tensors = BTreeMap::new();
    for (index, tensor) in gguf.tensors().iter().enumerate().filter(|(_, tensor)| !rope::is_setting(&tensor.name)) {
        let name = architecture.hf_name(&tensor.name).ok_or_else(|| {
            let what = format!("tensor {} has no place in a {} model", tensor.name, architecture.gguf);
            CheckpointError::unsupported(gguf.path(), what)
        })?;
        let change = match name.rsplit('.').nth(1) {
            Some("q_proj") if architecture.interleaved => Change::Interleaved(heads),
            Some("k_proj") if architecture.interleaved => Change::Interleaved(kv_heads),
            Some(module) if architecture.one_added && module.ends_with("norm") => Change::OneAdded,
            _ => Change::None,
        };
        if let Change::Interleaved(heads) = change
            && !tensor.shape.first().is_some_and(|rows| rows.is_multiple_of(2 * heads))
        {
            let expected = format!("rows of {heads} heads of even size");
            let thing = format!("tensor {}", tensor.name);
            let got = format!("shape {:?}", tensor.shape);
            return Err(CheckpointError::malformed(gguf.path(), thing, expected, got));
        }
        tensors.insert(name, Place { index, change });
    }
    Ok(tensors)
}

fn config(
    gguf: &Gguf,
    architecture: &Architecture,
    heads: u64,
    kv_heads: u64,
) -> Result<Map<String, Value>, CheckpointError> {
    let arch = architecture.gguf;
    let key = |name: &str| format!("{arch}.{name}");
    let hidden = gguf.required(&key("embedding_length"))?;
    let embedding = gguf
        .tensor("token_embd.weight")
        .filter(|t| t.shape.len() == 2)
        .ok_or_else(|| CheckpointError::malformed(gguf.path(), "token_embd.weight", "a matrix", "none"))?;
    let head_dim = match gguf.unsigned(&key("attention.key_length"))? {
        Some(width) => width,
        // Phi-3 turns a part of each head.
        None if arch == "phi3" => hidden / heads,
        None => gguf.unsigned(&key("rope.dimension_count"))?.unwrap_or(hidden / heads),
    };
    let layers = gguf.required(&key("block_count"))?;
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
    put("architectures", json!([architecture.class]));
    put("model_type", json!(architecture.model_type));
    put("hidden_size", json!(hidden));
    put("intermediate_size", json!(gguf.required(&key("feed_forward_length"))?));
    put("num_hidden_layers", json!(layers));
    put("num_attention_heads", json!(heads));
    put("num_key_value_heads", json!(kv_heads));
    put("head_dim", json!(head_dim));
    put("max_position_embeddings", json!(gguf.required(&key("context_length"))?));
    put("rms_norm_eps", json!(gguf.float(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5)));
    put("vocab_size", json!(embedding.shape[0]));
    put("tie_word_embeddings", json!(gguf.tensor("output.weight").is_none()));
    let has = |name: &str| gguf.tensor(name).is_some();
    match arch {
        "gemma3" => {
            put("hidden_activation", json!("gelu_pytorch_tanh"));
            // The largest model alone scales by the width that a head would have without one of its own.
            let scalar = if layers == 62 { hidden / heads } else { head_dim };
            put("query_pre_attn_scalar", json!(scalar));
            put("rope_local_base_freq", json!(gguf.float(&key("rope.freq_base_swa"))?.unwrap_or(10_000.0)));
            put("sliding_window_pattern", json!(6));
        }
        "qwen2" | "qwen3" => {
            put("hidden_act", json!("silu"));
            put("use_sliding_window", json!(false));
        }
        _ => {
            put("hidden_act", json!("silu"));
            put("mlp_bias", json!(has("blk.0.ffn_up.bias")));
        }
    }
    put("attention_bias", json!(has("blk.0.attn_q.bias")));
    if matches!(arch, "gemma3" | "phi3") {
        // 0 stands for "none".
        let window = gguf.unsigned(&key("attention.sliding_window"))?.filter(|&n| n > 0);
        put("sliding_window", json!(window));
    }
    rope::put(&mut config, gguf, arch, head_dim)?;
    for (name, key) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = gguf.unsigned(key)? {
            config.insert(name.to_owned(), json!(id));
        }
    }
    Ok(config)
}
