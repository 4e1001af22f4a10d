//! A run's folder: where it lies, who may work in it, and how a run in it goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_core::{Recipe, Schedule, Tree, files};
use relign_train::{Progress, Saved};

use crate::began::Began;
use crate::console::note;
use crate::sinks::hashes;
use crate::sinks::jsonl::read_trees;
use crate::usage::Usage;
use crate::{judged, recipe_file};

/// `runs/NAME-seed` beside whoever calls.
pub(super) fn default_folder(recipe: &Recipe, file: &Path) -> PathBuf {
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if recipe.name.is_empty() { stem } else { recipe.name.clone() };
    PathBuf::from("runs").join(format!("{name}-{}", recipe.seed.0))
}

/// Makes the run's folder and keeps other processes out of it.
pub(super) fn occupy(folder: &Path, recipe: &Recipe, began: &Began, resume: bool) -> anyhow::Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("run folder {}", folder.display()))?;
    let lock = lock(folder)?;
    if !resume {
        let file = vacant(folder)?; // another process may have been faster
        began.write(folder)?;
        write_recipe(&file, &recipe_file::write(recipe)?)?;
    }
    Ok(lock)
}

/// Writes the recipe of a run that goes on to more steps, once nothing is left that could refuse it.
pub(super) fn lengthen(folder: &Path, recipe: &Recipe) -> anyhow::Result<()> {
    let file = folder.join("recipe.toml");
    if recipe_file::load(&file, &[])?.run.steps < recipe.run.steps {
        write_recipe(&file, &recipe_file::write(recipe)?)?;
    }
    Ok(())
}

/// Where the recipe of a new run in `folder` goes.
fn vacant(folder: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join("recipe.toml");
    if file.exists() {
        return Err(Usage::error(format!(
            "{} holds a run already: go on with --resume, or name another folder with --out",
            folder.display()
        )));
    }
    Ok(file)
}

/// Finds where a run in the folder goes on, or that there is none yet.
pub(super) fn prepare(folder: &Path, recipe: &Recipe, saved: &Saved, resume: bool) -> anyhow::Result<Progress> {
    let file = folder.join("recipe.toml");
    let text = recipe_file::write(recipe)?;
    if resume {
        let before = files::read_to_string(&file)
            .map_err(|error| Usage(format!("--resume: {}: {error}; expected a run's folder", file.display())))?;
        if !extends(&file, &before, recipe, &text) && before != text {
            let old = recipe_file::read(&file.display().to_string(), &before, &[])
                .map_err(|why| Usage(format!("--resume: the run's own recipe cannot be read: {why}")))?;
            // Recipes that mean the same may be written otherwise.
            if let Some((setting, ours, theirs)) = recipe_file::difference(&old, recipe) {
                return Err(Usage::error(format!(
                    "--resume: the recipe differs from the run's in {}: {setting}: expected {ours}, got {theirs}",
                    file.display(),
                )));
            }
        }
        let found = saved.progress()?;
        // A run that was killed before its first checkpoint begins anew; one that had a checkpoint must have it still.
        let (every, hashed) = (recipe.checkpoint.every, hashes::last_step(folder)?.unwrap_or(0));
        if found.is_none() && every > 0 && hashed > every {
            return Err(Usage::error(format!(
                "--resume: {}: expected the checkpoint of step {every} or a later one, found none, though the logs go to step {hashed}",
                saved.last().display()
            )));
        }
        let progress = found.unwrap_or_default();
        if progress.step > recipe.run.steps {
            return Err(Usage::error(format!(
                "--resume: {}: step: expected at most the recipe's run.steps, {}, got {}",
                saved.last().join("trainer.json").display(),
                recipe.run.steps,
                progress.step
            )));
        }
        return Ok(progress);
    }
    vacant(folder)?;
    Ok(Progress::default())
}

/// Writes a run's recipe, whole or not at all: a kill must not leave half a recipe that nothing can resume.
fn write_recipe(file: &Path, text: &str) -> anyhow::Result<()> {
    files::write(file, text).with_context(|| file.display().to_string())
}

/// Whether a recipe is that of the run in `before` with more steps and no other change. The steps so far are what they would
/// have been, learning rates of a schedule that ends with the run aside.
fn extends(file: &Path, before: &str, recipe: &Recipe, text: &str) -> bool {
    let name = file.display().to_string();
    let read = |sets: &[String]| recipe_file::read(&name, before, sets).ok();
    let steps = recipe.run.steps;
    let Some(shorter) = read(&[]).filter(|shorter| shorter.run.steps < steps) else { return false };
    let same = read(&[format!("run.steps={steps}")]).and_then(|longer| recipe_file::write(&longer).ok());
    if same.as_deref() != Some(text) {
        return false;
    }
    let done = shorter.run.steps;
    note!("--resume: {steps} steps instead of {done}");
    if recipe.optimizer.schedule != Schedule::Constant {
        note!(
            "the learning rate's schedule now ends with step {steps}; the steps so far followed one that ended with step {done}"
        );
    }
    true
}

/// Keeps a second process out of the folder while this one lives.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(".lock");
    files::expect_plain(&path).with_context(|| path.display().to_string())?;
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => anyhow::bail!("{}: another process works on this run", folder.display()),
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

pub(super) fn held_out_file(folder: &Path, step: u64) -> PathBuf {
    folder.join(hashes::held_out(step))
}

/// The answers to held-out tasks before training and after `steps`, where both are kept.
pub(super) fn before_and_after(folder: &Path, steps: u64) -> Option<(Vec<Tree>, Vec<Tree>)> {
    let read = |step| read_trees(&held_out_file(folder, step)).ok();
    Some((read(0)?, read(steps)?))
}

/// McNemar's p over the held-out tasks, before against after; nothing where tasks have several samples or answers are missing.
///
/// # Errors
/// If the answers cannot be paired.
pub(crate) fn p_value(folder: &Path, recipe: &Recipe) -> anyhow::Result<Option<f64>> {
    match before_and_after(folder, recipe.run.steps) {
        Some((before, after)) if recipe.eval.samples == 1 => {
            let (before, after) = judged::pairs(&before, &after);
            Ok(Some(relign_bench::paired(&before, &after)?.p))
        }
        _ => Ok(None),
    }
}
