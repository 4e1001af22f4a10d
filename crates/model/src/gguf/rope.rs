//! The rotary settings of a GGUF file in the words of config.json.

use serde_json::{Map, Value, json};

use super::Gguf;
use crate::CheckpointError;

/// Frequency factors that Llama 3 converters add; they belong to the configuration, not the weights.
pub(super) const FACTORS: &str = "rope_freqs.weight";
/// The same of LongRoPE.
pub(super) const SHORT: &str = "rope_factors_short.weight";
pub(super) const LONG: &str = "rope_factors_long.weight";

/// Whether a tensor is part of the configuration.
pub(super) fn is_setting(tensor: &str) -> bool {
    [FACTORS, SHORT, LONG].contains(&tensor)
}

fn numbers(gguf: &Gguf, name: &str) -> Result<Option<Vec<f32>>, CheckpointError> {
    let Some(tensor) = gguf.tensor(name) else { return Ok(None) };
    let data = gguf.data(tensor)?;
    let mut numbers = vec![0.0; tensor.len()];
    tensor.kind.dequantize(data, &mut numbers);
    Ok(Some(numbers))
}

/// Puts `rope_theta`, `rope_scaling` and what belongs to them into `config`. Converters leave Llama 3's
/// settings out and store the factors they imply, so these are recognised among the settings in use
/// (8 for Llama 3.1, 32 for 3.2).
pub(super) fn put(
    config: &mut Map<String, Value>,
    gguf: &Gguf,
    arch: &str,
    head_dim: u64,
) -> Result<(), CheckpointError> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let theta = gguf.float(&key("freq_base"))?.unwrap_or(10_000.0);
    config.insert("rope_theta".to_owned(), json!(theta));
    let dims = gguf.unsigned(&key("dimension_count"))?.unwrap_or(head_dim);
    if dims != head_dim {
        config.insert("partial_rotary_factor".to_owned(), json!(dims as f64 / head_dim as f64));
    }
    let original = gguf.unsigned(&key("scaling.original_context_length"))?;
    let scaling = if let Some(factors) = numbers(gguf, FACTORS)? {
        llama3(gguf, theta, head_dim, &factors)?
    } else if let (Some(short), Some(long)) = (numbers(gguf, SHORT)?, numbers(gguf, LONG)?) {
        let mut scaling = json!({"rope_type": "longrope", "short_factor": short, "long_factor": long});
        if let Some(factor) = gguf.float(&key("scaling.attn_factor"))? {
            scaling["attention_factor"] = json!(factor);
        }
        if let Some(original) = original {
            config.insert("original_max_position_embeddings".to_owned(), json!(original));
        }
        scaling
    } else {
        let factor = gguf.float(&key("scaling.factor"))?.unwrap_or(1.0);
        match gguf.text(&key("scaling.type"))? {
            None | Some("none") => return Ok(()),
            Some("linear") => json!({"rope_type": "linear", "factor": factor}),
            Some("yarn") => {
                let mut scaling = json!({"rope_type": "yarn", "factor": factor});
                if let Some(original) = original {
                    scaling["original_max_position_embeddings"] = json!(original);
                }
                if let Some(by) = gguf.float(&key("scaling.attn_factor"))? {
                    // The file's factor comes on top of YaRN's own.
                    scaling["attention_factor"] = json!(by * (0.1 * factor.ln() + 1.0));
                }
                for (name, word) in [("scaling.yarn_beta_fast", "beta_fast"), ("scaling.yarn_beta_slow", "beta_slow")] {
                    if let Some(value) = gguf.float(&key(name))? {
                        scaling[word] = json!(value);
                    }
                }
                scaling
            }
            Some(other) => {
                let what =
                    format!("{}: expected none, linear, yarn or stored factors, got {other}", key("scaling.type"));
                return Err(CheckpointError::unsupported(gguf.path(), what));
            }
        }
    };
    config.insert("rope_scaling".to_owned(), scaling);
    Ok(())
}

fn llama3(gguf: &Gguf, theta: f64, head_dim: u64, factors: &[f32]) -> Result<Value, CheckpointError> {
    // The stored factors were held against the file; the width of a head is a mere claim.
    if factors.len() as u64 != head_dim / 2 {
        let (expected, got) = (format!("{} factors", head_dim / 2), factors.len().to_string());
        return Err(CheckpointError::malformed(gguf.path(), FACTORS, expected, got));
    }
    for factor in [8.0, 32.0] {
        let expected = llama3_factors(theta, head_dim, factor);
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-3 * b;
        if factors.iter().zip(&expected).all(near) {
            return Ok(json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }));
        }
    }
    let what = format!("{FACTORS} holds factors of no known kind; expected those of Llama 3.1 or 3.2");
    Err(CheckpointError::unsupported(gguf.path(), what))
}

/// Llama 3's division of each rotary frequency, for a context of 8192 stretched by `factor`.
pub(super) fn llama3_factors(theta: f64, head_dim: u64, factor: f64) -> Vec<f64> {
    let frequency = |i: u64| theta.powf(-2.0 * i as f64 / head_dim as f64);
    (0..head_dim / 2).map(|i| crate::config::llama3(frequency(i), 8192.0, factor, 1.0, 4.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
