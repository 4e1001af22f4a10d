//! A model's configuration in the words of a GGUF file.

use serde_json::Value;

use super::super::rope;
use super::Meta;
use crate::Config;
use crate::families::FAMILIES;

/// What a file says about a model.
pub(super) struct Settings {
    /// Keys and values.
    pub(super) metadata: Vec<(String, Meta)>,
    /// Rotary factors, which are stored as tensors.
    pub(super) factors: Vec<(&'static str, Vec<f32>)>,
}

impl Settings {
    /// Those of `config` as a model of architecture `arch`.
    ///
    /// # Errors
    /// If GGUF, or llama.cpp in reading it, has no place for what the configuration says.
    pub(super) fn of(arch: &str, config: &Config) -> Result<Self, String> {
        let mut settings = Self { metadata: Vec::new(), factors: Vec::new() };
        settings.counts(arch, config)?;
        settings.windows(arch, config)?;
        settings.rope(arch, config)?;
        Ok(settings)
    }

    fn put(&mut self, key: String, value: Meta) {
        self.metadata.push((key, value));
    }

    fn counts(&mut self, arch: &str, config: &Config) -> Result<(), String> {
        if arch == "qwen3" && config.attention_bias {
            return Err("attention_bias: llama.cpp reads no biases of a qwen3 model".to_owned());
        }
        if arch == "phi3" && config.head_dim * config.heads != config.hidden {
            return Err(format!(
                "head_dim: expected {} of phi3, got {}",
                config.hidden / config.heads,
                config.head_dim
            ));
        }
        // LongRoPE is read for its original context; the file tells the whole.
        let whole = word(config, "max_position_embeddings").and_then(|n| n.as_u64()).unwrap_or(config.context as u64);
        let mut context = if arch == "phi3" { whole as usize } else { config.context };
        if !matches!(arch, "gemma3" | "phi3") {
            // These have no windows in GGUF. Within a window the model is the same without.
            context = config.windows.iter().flatten().fold(context, |context, window| context.min(*window));
        }
        // Config::from_hf has seen to it that all counts are below 2^32.
        let count = |n: usize| Meta::U32(u32::try_from(n).unwrap_or(u32::MAX));
        let mut all = vec![
            ("context_length", count(context)),
            ("embedding_length", count(config.hidden)),
            ("block_count", count(config.layers)),
            ("feed_forward_length", count(config.intermediate)),
            ("attention.head_count", count(config.heads)),
            ("attention.head_count_kv", count(config.kv_heads)),
        ];
        if arch != "phi3" {
            let width = || count(config.head_dim);
            all.extend([("attention.key_length", width()), ("attention.value_length", width())]);
        }
        all.extend([
            ("attention.layer_norm_rms_epsilon", Meta::F32(config.norm_eps)),
            ("rope.dimension_count", count(2 * config.rope.frequencies.len())),
            ("rope.freq_base", Meta::F32(theta(config, "full_attention") as f32)),
            ("vocab_size", count(config.vocab)),
        ]);
        all.into_iter().for_each(|(key, value)| self.put(format!("{arch}.{key}"), value));
        Ok(())
    }

    fn windows(&mut self, arch: &str, config: &Config) -> Result<(), String> {
        if !matches!(arch, "gemma3" | "phi3") {
            return Ok(());
        }
        let window = config.windows.iter().flatten().next().copied();
        if arch == "gemma3" {
            // llama.cpp knows one pattern and one scale, and takes no other from a file.
            let expected = |layer: usize| (layer + 1).is_multiple_of(6);
            if config.windows.iter().enumerate().any(|(layer, window)| window.is_none() != expected(layer)) {
                return Err("layer_types: expected every sixth layer, and no other, without a window".to_owned());
            }
            let scalar = if config.layers == 62 { config.hidden / config.heads } else { config.head_dim };
            if (config.attention_scale * (scalar as f64).sqrt() - 1.0).abs() > 1e-6 {
                let got = 1.0 / config.attention_scale.powi(2);
                return Err(format!("query_pre_attn_scalar: expected {scalar}, got {got}"));
            }
            let local = theta(config, "sliding_attention");
            self.put(format!("{arch}.rope.freq_base_swa"), Meta::F32(local as f32));
        } else if config.windows.iter().any(|other| *other != window) {
            return Err("sliding_window: expected one for all layers".to_owned());
        }
        let window = u32::try_from(window.unwrap_or(0)).unwrap_or(u32::MAX);
        self.put(format!("{arch}.attention.sliding_window"), Meta::U32(window));
        Ok(())
    }

    /// Says how rotary frequencies are scaled: by metadata, or by factors.
    fn rope(&mut self, arch: &str, config: &Config) -> Result<(), String> {
        let Some(scaling) = scaling(config, "full_attention") else { return Ok(()) };
        if let Some(local) = self::scaling(config, "sliding_attention").filter(|_| config.local_rope.is_some())
            && nested(config)
            && kind(local) != "default"
        {
            return Err(format!("rope scaling of layers with a window: expected none, got {}", kind(local)));
        }
        let number = |key: &str| scaling.get(key).and_then(Value::as_f64);
        let key = |name: &str| format!("{arch}.rope.scaling.{name}");
        let original = number("original_max_position_embeddings")
            .or_else(|| word(config, "original_max_position_embeddings").and_then(|n| n.as_f64()));
        let whole = word(config, "max_position_embeddings").and_then(|n| n.as_f64()).unwrap_or(config.context as f64);
        match kind(scaling) {
            "default" => {}
            "linear" => {
                self.put(key("type"), Meta::Text("linear".to_owned()));
                self.put(key("factor"), Meta::F32(number("factor").unwrap_or(1.0) as f32));
            }
            "llama3" if number("original_max_position_embeddings") == Some(8192.0) => {
                let factor = number("factor").unwrap_or(8.0);
                let factors = rope::llama3_factors(theta(config, "full_attention"), config.head_dim as u64, factor);
                self.factors.push((rope::FACTORS, factors.into_iter().map(|f| f as f32).collect()));
            }
            "longrope" | "su" | "yarn" if arch == "phi3" => {
                for (name, key) in [(rope::LONG, "long_factor"), (rope::SHORT, "short_factor")] {
                    let list = scaling.get(key).and_then(Value::as_array).into_iter().flatten();
                    self.factors.push((name, list.filter_map(Value::as_f64).map(|f| f as f32).collect()));
                }
                self.put(key("original_context_length"), Meta::U32(original.unwrap_or(whole) as u32));
                self.put(key("attn_factor"), Meta::F32(config.rope.magnitude));
            }
            "yarn" if scaling.get("truncate") != Some(&Value::Bool(false)) => {
                let original = original.unwrap_or(whole);
                let factor = number("factor").unwrap_or(whole / original);
                self.put(key("type"), Meta::Text("yarn".to_owned()));
                self.put(key("factor"), Meta::F32(factor as f32));
                self.put(key("original_context_length"), Meta::U32(original as u32));
                // The file's factor comes on top of YaRN's own.
                let own = if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
                if (f64::from(config.rope.magnitude) / own - 1.0).abs() > 1e-6 {
                    let by = f64::from(config.rope.magnitude) / own;
                    self.put(key("attn_factor"), Meta::F32(by as f32));
                }
                for (name, word) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
                    if let Some(value) = number(word) {
                        self.put(key(name), Meta::F32(value as f32));
                    }
                }
            }
            other => {
                return Err(format!("rope scaling: expected none, linear, yarn, longrope or Llama 3's, got {other}"));
            }
        }
        Ok(())
    }
}

/// A word of `config.json`, or what the family takes where it is left out.
fn word(config: &Config, key: &str) -> Option<Value> {
    let own = config.raw.get(key).cloned();
    let family = || FAMILIES.iter().find(|family| family.name == config.model_type)?.defaults_of(key);
    own.or_else(family).filter(|value| !value.is_null())
}

/// Whether each kind of layer has rotary settings of its own.
fn nested(config: &Config) -> bool {
    config.raw.get("rope_parameters").is_some_and(|rope| rope.get("full_attention").is_some())
}

/// The rotary settings of a kind of layer.
fn scaling<'a>(config: &'a Config, layers: &str) -> Option<&'a Value> {
    let keys = ["rope_parameters", "rope_scaling"];
    let found = keys.iter().find_map(|key| config.raw.get(*key).filter(|value| !value.is_null()))?;
    if nested(config) { found.get(layers) } else { Some(found) }
}

fn kind(scaling: &Value) -> &str {
    scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default")
}

/// The base of the rotary frequencies of a kind of layer, and transformers' own where the configuration leaves it out.
fn theta(config: &Config, layers: &str) -> f64 {
    let local = layers == "sliding_attention";
    let within = scaling(config, layers).filter(|_| nested(config) || !local);
    let within = within.and_then(|scaling| scaling.get("rope_theta")?.as_f64());
    let beside = if local { "rope_local_base_freq" } else { "rope_theta" };
    within.or_else(|| word(config, beside)?.as_f64()).unwrap_or(10_000.0)
}
