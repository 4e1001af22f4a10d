//! What a checkpoint says about its architecture, in the words of Hugging Face's `config.json`.

use serde_json::Value;

/// An architecture's numbers. Built from `config.json`, or from GGUF metadata put into its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `model_type`, the family's registry name.
    pub model_type: String,
    /// Tokens in the vocabulary (rows of the embedding).
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layers.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Whether query, key and value projections have a bias.
    pub attention_bias: bool,
    /// Longest sequence in tokens.
    pub context: usize,
    /// The whole `config.json`, kept for what this struct does not name.
    pub raw: Value,
}

/// A `config.json` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.json: {0}")]
pub struct ConfigInvalid(pub String);

impl Config {
    /// Reads the words of a `config.json`.
    ///
    /// # Errors
    /// On a missing or senseless number, and on features no family here implements.
    pub fn from_hf(raw: &Value) -> Result<Self, ConfigInvalid> {
        let invalid = |message: String| ConfigInvalid(message);
        let count = |key: &str| -> Result<usize, ConfigInvalid> {
            let value = raw.get(key).ok_or_else(|| invalid(format!("`{key}` is missing")))?;
            value
                .as_u64()
                .filter(|&n| n > 0 && n < 1 << 32)
                .map(|n| n as usize)
                .ok_or_else(|| invalid(format!("`{key}`: expected a positive whole number, got {value}")))
        };
        let real = |key: &str, default: f64| raw.get(key).and_then(Value::as_f64).unwrap_or(default);
        let flag = |key: &str| raw.get(key).and_then(Value::as_bool);
        let model_type = raw
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("`model_type` is missing".to_owned()))?
            .to_owned();
        let (hidden, heads) = (count("hidden_size")?, count("num_attention_heads")?);
        let kv_heads = if raw.get("num_key_value_heads").is_some_and(|v| !v.is_null()) {
            count("num_key_value_heads")?
        } else {
            heads
        };
        let head_dim =
            if raw.get("head_dim").is_some_and(|v| !v.is_null()) { count("head_dim")? } else { hidden / heads };
        if !heads.is_multiple_of(kv_heads) || !head_dim.is_multiple_of(2) || head_dim == 0 {
            return Err(invalid(format!(
                "heads: expected a multiple of the key-value heads and an even width, got {heads} heads, {kv_heads} key-value heads of {head_dim}"
            )));
        }
        let activation = raw.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        if activation != "silu" {
            return Err(invalid(format!("`hidden_act`: expected silu, got {activation}")));
        }
        // Newer checkpoints keep the base and the kind under `rope_parameters`, older ones beside it.
        let rope = ["rope_parameters", "rope_scaling"].iter().find_map(|key| raw.get(*key).filter(|v| !v.is_null()));
        if let Some(rope) = rope {
            let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default");
            if kind != "default" {
                return Err(invalid(format!("rope scaling: expected none, got {kind}")));
            }
        }
        let rope_theta =
            rope.and_then(|r| r.get("rope_theta")).and_then(Value::as_f64).unwrap_or(real("rope_theta", 10_000.0));
        if flag("use_sliding_window") == Some(true) {
            return Err(invalid("`use_sliding_window`: expected false, got true".to_owned()));
        }
        Ok(Self {
            vocab: count("vocab_size")?,
            hidden,
            intermediate: count("intermediate_size")?,
            layers: count("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            rope_theta,
            norm_eps: real("rms_norm_eps", 1e-6) as f32,
            tied: flag("tie_word_embeddings").unwrap_or(false),
            attention_bias: flag("attention_bias").unwrap_or(model_type == "qwen2"),
            context: count("max_position_embeddings")?,
            model_type,
            raw: raw.clone(),
        })
    }
}
