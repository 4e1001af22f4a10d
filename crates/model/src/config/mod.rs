//! What a checkpoint says about its architecture, in the words of Hugging Face's `config.json`.

mod rope;
mod words;

use serde_json::{Value, json};

use crate::ops::Activation;
use words::Words;

pub use rope::Rope;
pub(crate) use rope::llama3;

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
    /// The rotary frequencies.
    pub rope: Rope,
    /// The rotary frequencies of layers with a window, where they have their own (Gemma 3).
    pub local_rope: Option<Rope>,
    /// How many positions each layer's queries see, their own included; all where there is none.
    pub windows: Vec<Option<usize>>,
    /// What attention scores are multiplied by.
    pub attention_scale: f64,
    /// The feed-forward gate's activation.
    pub activation: Activation,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Whether query, key and value projections have a bias; the output projection has, too, where the
    /// family's does.
    pub attention_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
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
    /// Reads the words of a `config.json`; what it leaves out is what transformers takes for the family.
    /// Of a model of several parts (`gemma3`) it is the text part's. LongRoPE (Phi-3) is read for its
    /// original context; see [`for_context`](Self::for_context).
    ///
    /// # Errors
    /// On a missing or senseless number, and on features no family here implements.
    pub fn from_hf(raw: &Value) -> Result<Self, ConfigInvalid> {
        Self::for_context(raw, 0)
    }

    /// As [`from_hf`](Self::from_hf), for sequences of up to `tokens` tokens: LongRoPE has one set of
    /// frequencies for sequences within its original context and another for longer ones.
    ///
    /// # Errors
    /// As [`from_hf`](Self::from_hf).
    pub fn for_context(raw: &Value, tokens: usize) -> Result<Self, ConfigInvalid> {
        let raw = text_part(raw);
        let words = Words::new(&raw)?;
        let (hidden, heads) = (words.count("hidden_size")?, words.count("num_attention_heads")?);
        let kv_heads = words.count_or("num_key_value_heads", heads)?;
        let head_dim = words.count_or("head_dim", hidden / heads)?;
        let layers = words.count("num_hidden_layers")?;
        if !heads.is_multiple_of(kv_heads) || !head_dim.is_multiple_of(2) {
            return Err(ConfigInvalid(format!(
                "heads: expected a multiple of the key-value heads and an even width, got {heads} heads, {kv_heads} key-value heads of {head_dim}"
            )));
        }
        // Both say how much memory a mere configuration takes.
        if head_dim > 1 << 16 || layers > 1 << 16 {
            let got = format!("{layers} layers with heads of {head_dim}");
            return Err(ConfigInvalid(format!("expected at most 65536 layers and as wide heads, got {got}")));
        }
        words.refuse(&["attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"])?;
        let scalar = words.number("query_pre_attn_scalar")?.unwrap_or(head_dim as f64);
        let ropes = rope::read(&words, head_dim, tokens)?;
        Ok(Self {
            model_type: words.model_type.to_owned(),
            vocab: words.count("vocab_size")?,
            hidden,
            intermediate: words.count("intermediate_size")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            rope: ropes.global,
            local_rope: ropes.local,
            windows: windows(&words, layers)?,
            attention_scale: 1.0 / scalar.sqrt(),
            activation: activation(&words)?,
            norm_eps: words.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            tied: words.flag("tie_word_embeddings")?.unwrap_or(false),
            attention_bias: words.flag("attention_bias")?.unwrap_or(false),
            mlp_bias: words.flag("mlp_bias")?.unwrap_or(false),
            context: ropes.context,
            raw: raw.clone(),
        })
    }
}

/// The text part of a model of several parts, as the configuration of a model of its own.
fn text_part(raw: &Value) -> Value {
    let text = raw.get("text_config").filter(|_| raw.get("model_type").is_some_and(|kind| kind == "gemma3"));
    let Some(Value::Object(text)) = text else { return raw.clone() };
    let mut text = text.clone();
    text.insert("model_type".to_owned(), json!("gemma3_text"));
    text.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
    for key in ["bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype"] {
        if let Some(value) = raw.get(key)
            && !text.contains_key(key)
        {
            text.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(text)
}

fn activation(words: &Words<'_>) -> Result<Activation, ConfigInvalid> {
    let key = if words.value("hidden_activation").is_some() { "hidden_activation" } else { "hidden_act" };
    match words.text(key)?.unwrap_or("silu") {
        "silu" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => Err(ConfigInvalid(format!("`{key}`: expected silu or gelu_pytorch_tanh, got {other}"))),
    }
}

/// Each layer's window. `layer_types` names the layers that have it; older files say from which layer
/// on (`max_window_layers`) or that every so many-th has none (`sliding_window_pattern`).
fn windows(words: &Words<'_>, layers: usize) -> Result<Vec<Option<usize>>, ConfigInvalid> {
    if words.flag("use_sliding_window")? != Some(true) || words.value("sliding_window").is_none() {
        return Ok(vec![None; layers]);
    }
    let window = words.count("sliding_window")?;
    if let Some(kinds) = words.value("layer_types") {
        let kinds = kinds.as_array().filter(|kinds| kinds.len() == layers);
        let kinds = kinds.ok_or_else(|| ConfigInvalid(format!("`layer_types`: expected one for each of {layers}")))?;
        let one = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(Some(window)),
            _ => Err(ConfigInvalid(format!("`layer_types`: expected full_attention or sliding_attention, got {kind}"))),
        };
        return kinds.iter().map(one).collect();
    }
    let from = words.whole("max_window_layers")?.unwrap_or(0);
    let pattern = words.whole("sliding_window_pattern")?.unwrap_or(0);
    let sees_all = |layer: usize| layer < from || (pattern > 0 && (layer + 1).is_multiple_of(pattern));
    Ok((0..layers).map(|layer| (!sees_all(layer)).then_some(window)).collect())
}
