//! `relign convert`: a model in another format.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use relign_model::{Checkpoint, GgmlType, Kind, save_checkpoint, save_gguf};
use serde_json::json;

use super::sampling::peak_gb;
use super::{say, say_json};
use crate::console::note;
use crate::usage::Usage;

/// What `convert` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face or PEFT folder, a GGUF file, a hub id or a run's folder
    model: String,
    /// What to write: a file that ends in .gguf, or a folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// How weights are stored; q8_0 and q4_0 in GGUF files only [default: as they are, or f16]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Type>,
    /// The base model of a PEFT folder [default: what the folder names]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8,
    #[value(name = "q4_0")]
    Q4,
}

impl Type {
    fn ggml(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::Bf16,
            Self::Q8 => GgmlType::Q8_0,
            Self::Q4 => GgmlType::Q4_0,
        }
    }
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let as_gguf = asked.out.extension().is_some_and(|ending| ending == "gguf");
    if !as_gguf && matches!(asked.kind, Some(Type::Q8 | Type::Q4)) {
        return Err(Usage::error(
            "--type: a folder holds f32, f16 or bf16; give an --out that ends in .gguf for q8_0 and q4_0",
        ));
    }
    if asked.out.exists() {
        return Err(Usage::error(format!("--out: {} exists already; nothing is overwritten", asked.out.display())));
    }
    let (path, checkpoint) = crate::models::open(&asked.model, asked.base.as_deref())?;
    let stored = checkpoint.stored_kind();
    let plain = matches!(stored, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16);
    let kind = asked.kind.map_or(if plain { stored } else { GgmlType::F16 }, Type::ggml);
    let start = Instant::now();
    write(&asked.out, &checkpoint, kind, as_gguf)?;
    let bytes = size(&asked.out).with_context(|| asked.out.display().to_string())?;
    let seconds = start.elapsed().as_secs_f64();
    if as_json {
        return say_json(&json!({
            "summary": true, "model": asked.model, "path": path, "out": asked.out, "from": stored.name(),
            "type": kind.name(), "tensors": checkpoint.names().len(), "bytes": bytes, "seconds": seconds,
            "peak_rss_gb": peak_gb(),
        }));
    }
    note!(
        "{} tensors, {} to {}, {:.1} MB in {seconds:.1} s",
        checkpoint.names().len(),
        stored.name(),
        kind.name(),
        bytes as f64 / 1e6
    );
    Ok(say(asked.out.display())?)
}

/// Writes beside `out` and renames: what is there is whole.
fn write(out: &Path, checkpoint: &Checkpoint, kind: GgmlType, as_gguf: bool) -> anyhow::Result<()> {
    let Some(name) = out.file_name() else { bail!("--out: expected a file or a folder, got {}", out.display()) };
    let part = out.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = || -> anyhow::Result<()> {
        if as_gguf {
            save_gguf(&part, checkpoint, kind)?;
        } else {
            std::fs::create_dir(&part).with_context(|| part.display().to_string())?;
            let kind = match kind {
                GgmlType::F32 => Kind::Float,
                GgmlType::Bf16 => Kind::BFloat16,
                _ => Kind::Half,
            };
            save_checkpoint(&part, checkpoint, kind)?;
        }
        std::fs::rename(&part, out).with_context(|| out.display().to_string())
    };
    let outcome = written();
    if outcome.is_err() {
        let _ = if as_gguf { std::fs::remove_file(&part) } else { std::fs::remove_dir_all(&part) };
    }
    outcome
}

fn size(path: &Path) -> std::io::Result<u64> {
    if path.is_file() {
        return Ok(path.metadata()?.len());
    }
    path.read_dir()?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
