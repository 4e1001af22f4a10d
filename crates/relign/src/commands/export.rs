//! `relign export`: a run's model as a Hugging Face folder with a card that says what was done and what came of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use relign_model::{Checkpoint, Kind, save_checkpoint};
use serde_json::json;

use super::{say, say_json};
use crate::console::note;
use crate::usage::Usage;

mod card;
mod facts;
mod front;

use facts::Facts;

/// What `export` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The run's folder
    run: PathBuf,
    /// The folder to write
    #[arg(value_name = "DIR")]
    out: PathBuf,
    /// A report of `relign compare` for the card, compare.json or its folder; may be given several times
    #[arg(long = "report", value_name = "FILE")]
    reports: Vec<PathBuf>,
    /// What `relign contamination TRAIN --against ... --json` said [default: contamination.jsonl in the run's folder, if
    /// it is there]
    #[arg(long, value_name = "FILE")]
    contamination: Option<PathBuf>,
    /// How weights are stored; f32 is what was trained
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "f32")]
    kind: Type,
    /// What the card calls the model [default: DIR's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The base model's id on the hub [default: known of built-in models and of hub ids]
    #[arg(long, value_name = "ORG/NAME")]
    base_model: Option<String>,
    /// The licence, as the hub spells it, such as apache-2.0 [default: the base model's, known of built-in models]
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// Export a run that is not finished, too; its card says so
    #[arg(long)]
    unfinished: bool,
    /// Write into a folder that is not empty: weights and card are replaced, other files left alone
    #[arg(long)]
    force: bool,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    F32,
    F16,
    Bf16,
}

impl Type {
    const fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::F16 => Kind::Half,
            Self::Bf16 => Kind::BFloat16,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let last = facts::checkpoint(&asked.run)?;
    free(asked)?;
    let facts = Facts::of(asked, &last)?;
    let checkpoint = Checkpoint::open(&last)?;
    let files = write(asked, &checkpoint, &facts)?;
    let bytes: u64 = files.iter().filter_map(|file| asked.out.join(file).metadata().ok()).map(|file| file.len()).sum();
    if facts.licence.is_none() {
        note!("the licence of the base model is not known here; the card says so (--license ID names it)");
    }
    if facts.base.is_none() {
        note!("the base model's place on the hub is not known here (--base-model ORG/NAME names it)");
    }
    if as_json {
        return say_json(&json!({
            "summary": true, "run": asked.run, "out": asked.out, "name": facts.name, "files": files, "bytes": bytes,
            "type": asked.kind.name(), "steps": facts.progress.step, "trained_sha256": facts.sha256,
            "base_model": facts.base, "license": facts.licence, "reports": facts.reports.len(),
            "relign": env!("CARGO_PKG_VERSION"),
        }));
    }
    note!("{} files, {:.1} MB, weights as {}", files.len(), bytes as f64 / 1e6, asked.kind.name());
    note!("read its card before you publish it: {}", asked.out.join(CARD).display());
    Ok(say(asked.out.display())?)
}

const CARD: &str = "README.md";
const CURVE: &str = "curve.png";

/// Whether the folder may be written: it is new, empty or `--force` says so, and it is not the run's own.
fn free(asked: &Asked) -> anyhow::Result<()> {
    let out = &asked.out;
    if out.is_file() {
        return Err(Usage::error(format!("{}: expected a folder to write, got a file", out.display())));
    }
    let whole = std::path::absolute(out).with_context(|| out.display().to_string())?;
    let there = whole.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let own = asked.run.canonicalize().with_context(|| asked.run.display().to_string())?;
    if there.starts_with(&own) || (out.exists() && own.starts_with(&there)) {
        let what = "expected a folder apart from the run's";
        return Err(Usage::error(format!("{}: {what}, got one that holds it or lies in it", out.display())));
    }
    if !out.exists() {
        return Ok(());
    }
    let empty = fs::read_dir(out).with_context(|| out.display().to_string())?.next().is_none();
    if !empty && !asked.force {
        let what = "expected a new or an empty folder, got one with files in it";
        let help = "--force replaces weights and card and leaves other files alone";
        return Err(Usage::error(format!("{}: {what}\n  help: {help}", out.display())));
    }
    Ok(())
}

/// Writes beside DIR and renames, so that a folder that was not there is whole or is not there; the names of the files.
fn write(asked: &Asked, checkpoint: &Checkpoint, facts: &Facts) -> anyhow::Result<Vec<String>> {
    let out = &asked.out;
    let Some(name) = out.file_name() else { bail!("expected a folder's name, got {}", out.display()) };
    let part = out.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = || -> anyhow::Result<Vec<String>> {
        fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
        save_checkpoint(&part, checkpoint, asked.kind.kind())?;
        if facts.curve {
            let curve = asked.run.join(CURVE);
            fs::copy(&curve, part.join(CURVE)).with_context(|| curve.display().to_string())?;
        }
        fs::write(part.join(CARD), card::card(facts)).with_context(|| part.join(CARD).display().to_string())?;
        let files = names(&part)?;
        if names(out).unwrap_or_default().is_empty() {
            let _ = fs::remove_dir(out);
            fs::rename(&part, out).with_context(|| out.display().to_string())?;
            return Ok(files);
        }
        // Weights in other parts than these would be read along with them.
        for old in names(out)?.iter().filter(|name| is_weights(name)) {
            fs::remove_file(out.join(old)).with_context(|| out.join(old).display().to_string())?;
        }
        for file in &files {
            fs::rename(part.join(file), out.join(file)).with_context(|| out.join(file).display().to_string())?;
        }
        Ok(files)
    };
    let outcome = written();
    let _ = fs::remove_dir_all(&part);
    outcome
}

/// The names in a folder, sorted; none of one that is not there.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn is_weights(name: &str) -> bool {
    name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"))
}
