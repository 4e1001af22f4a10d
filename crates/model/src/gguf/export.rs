//! Writes a model as a GGUF file that llama.cpp and RELIGN read.

use std::path::Path;

use tch::{Kind, Tensor};

use super::architectures::Architecture;
use super::writer::{Entry, Meta};
use super::{GgmlType, rope, writer};
use crate::{Checkpoint, CheckpointError, Config};

/// The version of ggml's block layouts, which quantised files name.
const QUANTIZATION_VERSION: u32 = 2;

/// The architectures whose files llama.cpp was seen to read as they were meant.
const WRITTEN: &[&str] = &["llama", "qwen2"];

/// Writes a checkpoint as the GGUF file `path` and flushes it to the disk.
///
/// Matrices are stored as `kind`, which must be [written](GgmlType::is_written); vectors as F32. As in
/// llama.cpp's converter, a matrix whose rows are no whole blocks of `kind` is stored as F16. Equal
/// input gives equal bytes.
///
/// # Errors
/// If the family or the tokenizer has no form in GGUF, a weight is too large for `kind`, or the file
/// cannot be written.
pub fn save_gguf(path: &Path, checkpoint: &Checkpoint, kind: GgmlType) -> Result<(), CheckpointError> {
    let unsupported = |what: String| CheckpointError::unsupported(path, what);
    if !kind.is_written() {
        let known: Vec<_> = GgmlType::WRITTEN.iter().map(|kind| kind.name()).collect();
        return Err(unsupported(format!("weights are written as {}, not as {}", known.join(", "), kind.name())));
    }
    let config = checkpoint.config();
    let architecture = Architecture::of_model_type(&config.model_type).filter(|a| WRITTEN.contains(&a.gguf));
    let Some(architecture) = architecture.filter(|_| config.windows.iter().all(Option::is_none)) else {
        return Err(unsupported(format!(
            "expected a model of type {} without sliding windows, got {}",
            WRITTEN.join(" or "),
            config.model_type
        )));
    };
    let mut metadata = model_metadata(architecture.gguf, config, checkpoint, kind);
    let tokenizer = checkpoint.tokenizer()?;
    metadata.extend(tokenizer.gguf_metadata(config.vocab).map_err(|what| unsupported(format!("tokenizer: {what}")))?);

    let mut entries = Vec::new();
    let mut sources = Vec::new();
    for name in checkpoint.names() {
        // A tied output matrix is the embedding; some folders hold it twice.
        if config.tied && name == "lm_head.weight" {
            continue;
        }
        let gguf = architecture.gguf_name(name).ok_or_else(|| {
            CheckpointError::unsupported(checkpoint.path(), format!("tensor {name} has no name in GGUF"))
        })?;
        let shape = checkpoint.shape(name)?;
        let columns = shape.last().copied().unwrap_or(1);
        let kind = match shape.len() {
            0 | 1 => GgmlType::F32,
            _ if columns.is_multiple_of(kind.block()) => kind,
            _ => GgmlType::F16,
        };
        let heads = if architecture.interleaved { rotated_heads(name, config.heads, config.kv_heads) } else { None };
        entries.push(Entry { name: gguf, kind, shape });
        sources.push((name, heads));
    }
    let factors = scaling(architecture.gguf, config, &mut metadata).map_err(unsupported)?;
    if let Some(factors) = &factors {
        entries.push(Entry { name: rope::FACTORS.to_owned(), kind: GgmlType::F32, shape: vec![factors.len()] });
    }

    let mut sources = sources.into_iter();
    writer::write(path, &metadata, &entries, |entry, out| {
        let Some((name, heads)) = sources.next() else {
            factors.iter().for_each(|factors| GgmlType::F32.quantize(factors, out));
            return Ok(());
        };
        let tensor = checkpoint.tensor(name)?;
        let tensor = heads.map_or_else(|| tensor.shallow_clone(), |heads| interleave(&tensor, heads));
        code(entry, &tensor, out)
            .map_err(|what| CheckpointError::unsupported(checkpoint.path(), format!("tensor {name}: {what}")))
    })
}

/// Puts the rows of a query or key projection from split halves into interleaved rotary pairs, head by
/// head: what llama.cpp expects of Llama.
fn interleave(tensor: &Tensor, heads: usize) -> Tensor {
    let shape = tensor.size();
    let (heads, rows) = (heads as i64, shape[0]);
    tensor.view([heads, 2, rows / heads / 2, -1]).transpose(1, 2).contiguous().view(shape.as_slice())
}

/// The heads of a projection whose rows are rotated in pairs, by its Hugging Face name.
fn rotated_heads(name: &str, heads: usize, kv_heads: usize) -> Option<usize> {
    match name.rsplit('.').nth(1) {
        Some("q_proj") => Some(heads),
        Some("k_proj") => Some(kv_heads),
        _ => None,
    }
}

/// Appends a tensor's coded bytes, blocks of rows on all cores.
fn code(entry: &Entry, tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), String> {
    let mut values = vec![0.0_f32; tensor.numel()];
    tensor.to_kind(Kind::Float).contiguous().view([-1]).copy_data(&mut values, tensor.numel());
    let most = f64::from(half::f16::MAX.to_f32())
        * match entry.kind {
            GgmlType::F16 => 1.0,
            GgmlType::Q4_0 => 8.0,
            GgmlType::Q8_0 => 127.0,
            _ => f64::INFINITY,
        };
    if let Some(large) = values.iter().find(|x| x.is_finite() && f64::from(x.abs()) > most) {
        return Err(format!("{} holds magnitudes up to {most}, got {large}; write bf16 or f32", entry.kind.name()));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let part = values.len().div_ceil(cores).next_multiple_of(entry.kind.block()).max(1 << 16);
    std::thread::scope(|scope| {
        let parts: Vec<_> = values
            .chunks(part)
            .map(|values| {
                scope.spawn(move || {
                    let mut bytes = Vec::new();
                    entry.kind.quantize(values, &mut bytes);
                    bytes
                })
            })
            .collect();
        for part in parts {
            out.extend(part.join().map_err(|_| "coding it failed".to_owned())?);
        }
        Ok(())
    })
}

fn model_metadata(arch: &str, config: &Config, checkpoint: &Checkpoint, kind: GgmlType) -> Vec<(String, Meta)> {
    let mut metadata = Vec::new();
    let mut put = |key: &str, value: Meta| metadata.push((key.to_owned(), value));
    // Config::from_hf has seen to it that all counts are below 2^32.
    let count = |n: usize| Meta::U32(u32::try_from(n).unwrap_or(u32::MAX));
    put("general.architecture", Meta::Text(arch.to_owned()));
    put("general.type", Meta::Text("model".to_owned()));
    if let Some(name) = checkpoint.path().file_stem().and_then(|name| name.to_str()) {
        put("general.name", Meta::Text(name.to_owned()));
    }
    let file_type = match kind {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q4_0 => 2,
        GgmlType::Q8_0 => 7,
        _ => 32,
    };
    put("general.file_type", Meta::U32(file_type));
    put("general.quantization_version", Meta::U32(QUANTIZATION_VERSION));
    for (key, value) in [
        ("context_length", count(config.context)),
        ("embedding_length", count(config.hidden)),
        ("block_count", count(config.layers)),
        ("feed_forward_length", count(config.intermediate)),
        ("attention.head_count", count(config.heads)),
        ("attention.head_count_kv", count(config.kv_heads)),
        ("attention.key_length", count(config.head_dim)),
        ("attention.value_length", count(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Meta::F32(config.norm_eps)),
        ("rope.dimension_count", count(config.head_dim)),
        ("rope.freq_base", Meta::F32(theta(config) as f32)),
        ("vocab_size", count(config.vocab)),
    ] {
        put(&format!("{arch}.{key}"), value);
    }
    metadata
}

/// The base of the rotary frequencies, and transformers' own where the configuration leaves it out.
fn theta(config: &Config) -> f64 {
    let within = ["rope_parameters", "rope_scaling"].iter().find_map(|key| config.raw.get(*key)?.get("rope_theta"));
    within.or_else(|| config.raw.get("rope_theta")).and_then(serde_json::Value::as_f64).unwrap_or(10_000.0)
}

/// Says how rotary frequencies are scaled: by metadata, or by the factors that it returns.
fn scaling(arch: &str, config: &Config, metadata: &mut Vec<(String, Meta)>) -> Result<Option<Vec<f32>>, String> {
    let settings =
        ["rope_parameters", "rope_scaling"].iter().find_map(|key| config.raw.get(*key).filter(|v| !v.is_null()));
    let Some(scaling) = settings else { return Ok(None) };
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(|kind| kind.as_str());
    let number = |key: &str| scaling.get(key).and_then(serde_json::Value::as_f64);
    match kind.unwrap_or("default") {
        "default" => Ok(None),
        "linear" => {
            let factor = number("factor").unwrap_or(1.0);
            metadata.push((format!("{arch}.rope.scaling.type"), Meta::Text("linear".to_owned())));
            metadata.push((format!("{arch}.rope.scaling.factor"), Meta::F32(factor as f32)));
            Ok(None)
        }
        "llama3" if number("original_max_position_embeddings") == Some(8192.0) => {
            let factor = number("factor").unwrap_or(8.0);
            let factors = rope::llama3_factors(theta(config), config.head_dim as u64, factor);
            Ok(Some(factors.into_iter().map(|f| f as f32).collect()))
        }
        other => Err(format!("rope scaling: expected none, linear or Llama 3's, got {other}")),
    }
}
