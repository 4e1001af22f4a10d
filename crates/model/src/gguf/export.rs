//! Writes a model as a GGUF file that llama.cpp and RELIGN read.

mod settings;

use std::path::Path;

use tch::{Kind, Tensor};

use super::architectures::Architecture;
use super::writer::{Entry, Meta};
use super::{GgmlType, writer};
use crate::{Checkpoint, CheckpointError};
use settings::Settings;

/// The version of ggml's block layouts, which quantised files name.
const QUANTIZATION_VERSION: u32 = 2;

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
    let Some(architecture) = Architecture::of_model_type(&config.model_type) else {
        return Err(unsupported(format!(
            "a model of type {} has no form in GGUF that RELIGN knows",
            config.model_type
        )));
    };
    let settings = Settings::of(architecture.gguf, config).map_err(unsupported)?;
    let mut metadata = general(architecture.gguf, checkpoint, kind);
    metadata.extend(settings.metadata);
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
    for (name, factors) in &settings.factors {
        entries.push(Entry { name: (*name).to_owned(), kind: GgmlType::F32, shape: vec![factors.len()] });
    }

    let mut sources = sources.into_iter();
    let mut factors = settings.factors.iter();
    writer::write(path, &metadata, &entries, |entry, out| {
        let Some((name, heads)) = sources.next() else {
            factors.next().into_iter().for_each(|(_, factors)| GgmlType::F32.quantize(factors, out));
            return Ok(());
        };
        let tensor = checkpoint.tensor(name)?;
        let mut tensor = heads.map_or_else(|| tensor.shallow_clone(), |heads| interleave(&tensor, heads));
        if architecture.one_added && name.ends_with("norm.weight") {
            tensor += 1.0;
        }
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

fn general(arch: &str, checkpoint: &Checkpoint, kind: GgmlType) -> Vec<(String, Meta)> {
    let mut metadata = Vec::new();
    let mut put = |key: &str, value: Meta| metadata.push((key.to_owned(), value));
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
    metadata
}
