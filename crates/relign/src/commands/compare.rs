//! `relign compare`: whether one model is better than another, by how much, and how sure that is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_bench::compare::{CompareError, Options, Report, compare, html, markdown, sealed, text};
use relign_bench::results::{Results, find, read};
use relign_core::{Seed, files};
use serde_json::json;

use super::{say, say_json};
use crate::usage::Usage;

/// What `compare` was told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The base model's results: a file, or the folder that `relign eval --out` wrote
    base: PathBuf,
    /// The results of what was made of it, one or several
    #[arg(required = true)]
    tuned: Vec<PathBuf>,
    /// Write `compare.md`, `compare.json` and `compare.html` there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare also what is not comparable (other data, template, grader, settings); the report says so
    #[arg(long)]
    force: bool,
    /// Items that flipped shown in reports, each way, for each benchmark
    #[arg(long, value_name = "N", default_value_t = 20)]
    flips: usize,
    /// The bootstrap's randomness
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let base = load(&asked.base)?;
    let tuned = asked.tuned.iter().map(|path| load(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let options = Options { force: asked.force, flips: asked.flips, seed: Seed(asked.seed), ..Options::default() };
    let report = compare(&base, &tuned, &options).map_err(|error| match error {
        CompareError::NotComparable(_) => {
            anyhow::anyhow!("{error}\n  help: --force compares them all the same, and the report says so")
        }
        CompareError::Nothing(what) => anyhow::anyhow!(what),
    })?;
    if let Some(out) = &asked.out {
        write(out, &report)?;
    }
    if as_json {
        report.comparisons.iter().try_for_each(|comparison| {
            comparison.rows.iter().try_for_each(|row| {
                let mut line = serde_json::to_value(row)?;
                line["model"] = json!(comparison.model);
                say_json(&line)
            })
        })?;
        let overall: Vec<_> =
            report.comparisons.iter().map(|c| json!({"model": c.model, "overall": c.overall})).collect();
        return say_json(
            &json!({"summary": true, "base": report.base, "comparisons": overall, "warnings": report.warnings,
            "notes": report.notes, "relign": report.relign}),
        );
    }
    say(text(&report).trim_end())?;
    match &asked.out {
        Some(out) => Ok(say(format_args!("\nwritten: {0}/compare.html, .md and .json", out.display()))?),
        None => Ok(()),
    }
}

/// The results at `path`, all of them checked.
fn load(path: &Path) -> anyhow::Result<Vec<Results>> {
    if !path.exists() {
        return Err(Usage::error(format!("{}: expected a file or a folder of results, there is none", path.display())));
    }
    let files = find(path)?;
    if files.is_empty() {
        let what = "expected results (relign eval MODEL --benchmark B --out DIR writes them), got none";
        return Err(Usage::error(format!("{}: {what}", path.display())));
    }
    Ok(files.iter().map(|file| read(file)).collect::<Result<_, _>>()?)
}

fn write(out: &Path, report: &Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let json = sealed(report)?;
    for (name, text) in [("compare.md", markdown(report)), ("compare.html", html(report)), ("compare.json", json)] {
        let file = out.join(name);
        files::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
