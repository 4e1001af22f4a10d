//! What a card is made of: all that a run wrote down, and what was measured of it since.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_bench::compare::{self, Comparison, Report};
use relign_bench::contamination::Counts;
use relign_core::{DataFile, Device, Estimate, Message, Recipe, StepMetrics, find};
use relign_tasks::ENVIRONMENTS;
use relign_train::{Manifest, Progress, Saved};
use serde::Deserialize;

use super::{Asked, CURVE};
use crate::began::Began;
use crate::commands::train::p_value;
use crate::loaded::weights_hash;
use crate::shell::{self, file_word};
use crate::sinks::hashes;
use crate::sinks::jsonl::{evaluations, metrics, read_trees};
use crate::usage::Usage;
use crate::{models, recipe_file};

/// A run's `summary.json`, as far as a card needs it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    pub(super) base: Option<Estimate>,
    #[serde(rename = "final")]
    pub(super) end: Option<Estimate>,
    pub(super) p_value: Option<f64>,
    pub(super) seconds: f64,
    pub(super) dtype: String,
    pub(super) threads: u64,
    pub(super) cpu: String,
    pub(super) device: Device,
    pub(super) model: PathBuf,
    pub(super) model_sha256: String,
    pub(super) data: Vec<DataFile>,
    pub(super) relign: String,
    pub(super) libtorch: String,
}

/// The last line of what `relign contamination --json` says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Contamination {
    pub(super) texts: u64,
    /// Of how many, where not all were looked through.
    #[serde(default)]
    pub(super) tasks: u64,
    pub(super) words: u64,
    pub(super) run: u64,
    pub(super) benchmarks: BTreeMap<String, Counts>,
}

/// A data set that tasks came from.
#[derive(Clone, Debug)]
pub(super) struct DataSet {
    /// Its id on the hub.
    pub(super) hub: Option<String>,
    /// Its licence in words, where the task knows it.
    pub(super) licence: Option<String>,
}

/// All that a card says.
pub(super) struct Facts {
    pub(super) name: String,
    /// The base model's id on the hub.
    pub(super) base: Option<String>,
    pub(super) licence: Option<String>,
    pub(super) recipe: Recipe,
    /// The recipe as it ran.
    pub(super) text: String,
    pub(super) summary: Summary,
    pub(super) progress: Progress,
    /// What the last step was like.
    pub(super) last: Option<StepMetrics>,
    /// Samples that no reward could judge, in all steps.
    pub(super) failed: u64,
    pub(super) data: DataSet,
    /// What was asked first of the held-out tasks.
    pub(super) asked: Vec<Message>,
    /// Reports, and which of their comparisons is of this model.
    pub(super) reports: Vec<(Report, usize)>,
    pub(super) contamination: Option<Contamination>,
    /// SHA-256 of the weights as they were trained.
    pub(super) sha256: String,
    /// How they are stored now.
    pub(super) stored: &'static str,
    pub(super) curve: bool,
}

/// The run's newest checkpoint.
///
/// # Errors
/// [`Usage`] if the folder is no run's, or the run has not saved anything yet.
pub(super) fn checkpoint(run: &Path) -> anyhow::Result<PathBuf> {
    let here = run.display();
    if !run.join("recipe.toml").is_file() {
        let what = "expected a run's folder (`relign train` writes one), got one without recipe.toml";
        let help = "`relign convert MODEL --out DIR` writes any other model as a Hugging Face folder";
        return Err(Usage::error(format!("{here}: {what}\n  help: {help}")));
    }
    let last = Saved::of(run).last();
    if !last.join("config.json").is_file() {
        return Err(Usage::error(format!("{here}: expected a checkpoint, got a run that has not saved one yet")));
    }
    Manifest::required(&last)?.verify(&last, |_| true)?;
    Ok(last)
}

impl Facts {
    /// Reads all that was written down; `last` is the run's checkpoint.
    ///
    /// # Errors
    /// If something is not what it should be, or belongs to another model.
    pub(super) fn of(asked: &Asked, last: &Path) -> anyhow::Result<Self> {
        let run = &asked.run;
        let recipe = recipe_file::load(&run.join("recipe.toml"), &[])?;
        let text = fs::read_to_string(run.join("recipe.toml"))?;
        let progress = Saved::of(run).progress()?.unwrap_or_default();
        let found: Option<Summary> = read_json(&run.join("summary.json"))?;
        hashes::verify(run, progress.step)?;
        match &found {
            Some(summary) => agrees(run, &recipe, summary)?,
            None => Began::read(run)?.expect_recipe(run, &recipe)?,
        }
        let summary = found.unwrap_or_default();
        if !asked.unfinished {
            finished(run, &recipe, &progress, &summary)?;
        }
        let sha256 = weights_hash(last)?;
        let origin = models::origin(&recipe.model.path, &summary.model_sha256);
        let licence = origin.as_ref().and_then(|(_, licence)| *licence).map(str::to_owned);
        let reports = asked.reports.iter().map(|path| report(path, &sha256)).collect::<anyhow::Result<_>>()?;
        let steps = metrics(run)?;
        let name = asked.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self {
            name: asked.name.clone().unwrap_or(name),
            base: asked.base_model.clone().or(origin.map(|(hub, _)| hub)),
            // A licence that is known of one base says nothing of another.
            licence: asked.license.clone().or(licence.filter(|_| asked.base_model.is_none())),
            data: data_set(&recipe),
            asked: question(run),
            failed: steps.iter().map(|step| step.rollouts.failed).sum(),
            last: steps.into_iter().next_back(),
            contamination: contamination(run, asked.contamination.as_deref())?,
            curve: run.join(CURVE).is_file(),
            stored: asked.kind.name(),
            recipe,
            text,
            summary,
            progress,
            reports,
            sha256,
        })
    }

    /// Whether the run was exported before its end.
    pub(super) fn unfinished(&self) -> bool {
        finished(Path::new(""), &self.recipe, &self.progress, &self.summary).is_err()
    }

    /// Held-out accuracy before training.
    pub(super) fn before(&self) -> Option<Estimate> {
        self.summary.base.or(self.progress.base)
    }
}

/// Whether all steps were made and what the recipe measures at the end was measured.
fn finished(run: &Path, recipe: &Recipe, progress: &Progress, summary: &Summary) -> anyhow::Result<()> {
    let (done, steps, here) = (progress.step, recipe.run.steps, run.display());
    let what = if done < steps {
        format!("the run is not finished: its checkpoint is of step {done}, the recipe asks for {steps}")
    } else if recipe.eval.items > 0 && summary.end.is_none() {
        "the run is not finished: its last measurement is missing".to_owned()
    } else {
        return Ok(());
    };
    let (recipe, folder) = (file_word(&run.join("recipe.toml")), file_word(run));
    let help = format!(
        "`{}` goes on; --unfinished exports it as it is",
        shell::command(&["train", &recipe, "--out", &folder, "--resume"])
    );
    Err(Usage::error(format!("{here}: {what}\n  help: {help}")))
}

/// Refuses a `summary.json` whose figures are not those of the run's logs, or that tells of another beginning.
fn agrees(run: &Path, recipe: &Recipe, summary: &Summary) -> anyhow::Result<()> {
    let file = run.join("summary.json");
    let differs = |what: &str, source: &str, expected: &str, got: &str| {
        let file = file.display();
        Err(Usage::error(format!("{file}: {what}: expected what {source} has, {expected}, got {got}")))
    };
    let evaluations = evaluations(run)?;
    let at =
        |step: u64| evaluations.iter().find(|evaluation| evaluation.step == step).map(|evaluation| evaluation.accuracy);
    for (what, got, expected) in [("base", summary.base, at(0)), ("final", summary.end, at(recipe.run.steps))] {
        let word = |estimate: Option<Estimate>| match estimate {
            None => "none".to_owned(),
            Some(Estimate { accuracy, low, high, n }) => format!("{accuracy} ({low} to {high}, n = {n})"),
        };
        if got.is_some() && got != expected {
            return differs(what, "evals.jsonl", &word(expected), &word(got));
        }
    }
    if let Some(got) = summary.p_value {
        let expected = p_value(run, recipe)?;
        // A number that was written and read may be another in its last digit.
        if expected.is_none_or(|expected| (expected - got).abs() > 1e-9 * expected) {
            let word = |p: Option<f64>| p.map_or("none".to_owned(), |p| p.to_string());
            return differs("p_value", "held-out", &word(expected), &got.to_string());
        }
    }
    let began = Began::read(run)?;
    began.expect_recipe(run, recipe)?;
    let data = |files: &[DataFile]| {
        files.iter().map(|file| format!("{} {}", file.name, file.sha256)).collect::<Vec<_>>().join(", ")
    };
    for (what, got, expected) in [
        ("model_sha256", summary.model_sha256.clone(), began.model_sha256.clone()),
        ("relign", summary.relign.clone(), began.relign.clone()),
        ("data", data(&summary.data), data(&began.data)),
    ] {
        if got != expected {
            return differs(what, "began.json", &expected, &got);
        }
    }
    Ok(())
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<Option<T>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?))
}

/// A report and the place of this model in it.
fn report(path: &Path, sha256: &str) -> anyhow::Result<(Report, usize)> {
    let report = compare::read(path).map_err(|error| Usage(format!("--report: {error}")))?;
    let own = |comparison: &Comparison| comparison.model_sha256 == sha256;
    if let Some(place) = report.comparisons.iter().position(own) {
        return Ok((report, place));
    }
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    let others: Vec<String> =
        report.comparisons.iter().map(|c| format!("{} ({})", c.model, short(&c.model_sha256))).collect();
    Err(Usage::error(format!(
        "--report: {}: expected a comparison of this run's weights ({}), got {}\n  help: measure the run itself: relign eval \
         RUN --benchmark ... --out DIR",
        path.display(),
        short(sha256),
        others.join(", ")
    )))
}

/// What is known of the data that the recipe's environment reads.
fn data_set(recipe: &Recipe) -> DataSet {
    let environment = &recipe.environment;
    let path = environment.settings.get("path").and_then(serde_json::Value::as_str);
    if let Some(path) = path {
        let id = path.strip_prefix("hf:").and_then(|id| id.split(['@', ':']).next());
        return DataSet { hub: id.map(str::to_owned), licence: None };
    }
    let known = find("environment", ENVIRONMENTS, &environment.name).ok().map(|entry| (entry.schema)());
    let word = |key: &str| known.as_ref()?.get("x-data-set")?.get(key)?.as_str().map(str::to_owned);
    DataSet { hub: word("hub"), licence: word("licence") }
}

/// The first held-out task's conversation, from the trees of the first measurement.
fn question(run: &Path) -> Vec<Message> {
    let trees = read_trees(&run.join("held-out/step-0.jsonl.zst")).unwrap_or_default();
    trees.into_iter().next().map(|tree| tree.task.messages).unwrap_or_default()
}

/// The findings in `file`, or in the run's own where that is there.
fn contamination(run: &Path, file: Option<&Path>) -> anyhow::Result<Option<Contamination>> {
    let own = run.join("contamination.jsonl");
    let path = match file {
        Some(file) => file,
        None if own.is_file() => &own,
        None => return Ok(None),
    };
    let what = "expected what `relign contamination TRAIN --against ... --json` says";
    let wrong = |got: String| Usage(format!("{}: {what}, got {got}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let last = text.lines().next_back().ok_or_else(|| wrong("an empty file".to_owned()))?;
    Ok(Some(serde_json::from_str(last).map_err(|error| wrong(format!("a last line that is none: {error}")))?))
}
