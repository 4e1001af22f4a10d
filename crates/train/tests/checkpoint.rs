//! A run's checkpoint: what is restored goes on to the same bits, whatever moment it was killed at.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod common;

use std::fs;
use std::path::Path;

use common::{FAMILIES, groups, options, policy, tokenizer, weights};
use relign_core::{Estimate, OptimizerSection, Schedule};
use relign_model::{Checkpoint, Kind};
use relign_train::algorithms::Grpo;
use relign_train::{Progress, Saved, TrainError, Trainer, TrainerOptions};

fn trainer(family: &str, kind: Kind) -> Trainer {
    let optimizer = OptimizerSection { lr: 1e-3, warmup: 3, schedule: Schedule::Cosine, ..OptimizerSection::default() };
    Trainer::new(policy(family, kind), true, TrainerOptions { optimizer, minibatches: 2, ..options() })
}

fn algorithm() -> Grpo {
    Grpo { kl: 0.1, ..Grpo::default() }
}

fn learn(trainer: &mut Trainer, step: u64) -> relign_core::UpdateMetrics {
    trainer
        .update(step, &groups(step, 4, 4), &algorithm(), relign_core::Seed(9).index(step), &mut |_, _| {})
        .expect("finite")
}

fn progress(trainer: &Trainer, step: u64) -> Progress {
    Progress {
        step,
        tokens: 1234 * step,
        optimizer_steps: trainer.optimizer().taken(),
        version: trainer.policy().version(),
        measured: 0,
        base: Some(Estimate { accuracy: 0.1, low: 0.07, high: 1.0 / 3.0, n: 200 }),
    }
}

fn save(run: &Path, trainer: &Trainer, step: u64) -> Progress {
    let progress = progress(trainer, step);
    Saved::of(run).save(trainer, &tokenizer(), &progress).expect("saved");
    progress
}

#[test]
fn a_restored_run_goes_on_to_the_same_bits() {
    for family in FAMILIES {
        for kind in [Kind::Float, Kind::BFloat16] {
            let run = tempfile::tempdir().unwrap();
            let saved = Saved::of(run.path());
            assert_eq!(saved.progress().unwrap(), None);
            let mut unbroken = trainer(family, kind);
            for step in 1..=2 {
                learn(&mut unbroken, step);
            }
            let told = save(run.path(), &unbroken, 2);
            let metrics: Vec<_> = (3..=4).map(|step| learn(&mut unbroken, step)).collect();

            let read = saved.progress().unwrap().expect("a checkpoint");
            assert_eq!(read, told);
            let mut resumed = trainer(family, kind);
            saved.restore(&mut resumed, &read).expect("restored");
            assert_eq!(resumed.policy().version(), 4);
            let again: Vec<_> = (3..=4).map(|step| learn(&mut resumed, step)).collect();
            assert_eq!(again, metrics, "{family} {kind:?}");
            assert!(weights(&resumed) == weights(&unbroken), "{family} {kind:?}: other weights");
            assert!(common::first_moments(&resumed) == common::first_moments(&unbroken));
        }
    }
}

#[test]
fn what_is_saved_is_a_model() {
    let run = tempfile::tempdir().unwrap();
    let mut one = trainer("qwen2", Kind::BFloat16);
    learn(&mut one, 1);
    save(run.path(), &one, 1);
    let checkpoint = Checkpoint::open(Saved::of(run.path()).last()).unwrap();
    for (name, master) in one.policy().named() {
        assert_eq!(common::numbers(&checkpoint.tensor(&name).unwrap()), common::numbers(&master), "{name}, in f32");
    }
    let words = "the answer is 42";
    assert_eq!(checkpoint.tokenizer().unwrap().encode(words), tokenizer().encode(words));
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A run's folder with the checkpoints of step 1 (as `last`) and step 2 (as `second`).
fn two_checkpoints() -> (tempfile::TempDir, Progress, Progress) {
    let run = tempfile::tempdir().unwrap();
    let mut trainer = trainer("llama", Kind::Float);
    let checkpoints = run.path().join("checkpoints");
    learn(&mut trainer, 1);
    let one = save(run.path(), &trainer, 1);
    fs::rename(checkpoints.join("last"), checkpoints.join("first")).unwrap();
    learn(&mut trainer, 2);
    let two = save(run.path(), &trainer, 2);
    fs::rename(checkpoints.join("last"), checkpoints.join("second")).unwrap();
    fs::rename(checkpoints.join("first"), checkpoints.join("last")).unwrap();
    (run, one, two)
}

/// What a kill at any moment of the second save leaves, and which checkpoint must be found then.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
    let (source, one, two) = two_checkpoints();
    let source = source.path().join("checkpoints");
    let copy = |from: &str, to: &Path, files: &[String]| {
        fs::create_dir_all(to).unwrap();
        for file in files {
            fs::copy(source.join(from).join(file), to.join(file)).unwrap();
        }
    };
    let all = names(&source.join("second"));
    assert!(all.contains(&"trainer.json".to_owned()) && all.contains(&"optimizer.safetensors".to_owned()));
    let parts: Vec<String> = all.iter().filter(|name| *name != "manifest.json").cloned().collect();
    type Layout<'a> = (&'a str, Vec<(&'a str, &'a str, &'a [String])>, Option<&'a Progress>);
    let layouts: [Layout; 9] = [
        ("nothing yet", vec![], None),
        ("the first save half-written", vec![("second", "last.writing", &parts)], None),
        ("the first save written", vec![("second", "last.writing", &all)], Some(&two)),
        ("half-written", vec![("last", "last", &all), ("second", "last.writing", &parts[..3])], Some(&one)),
        ("all but the manifest", vec![("last", "last", &all), ("second", "last.writing", &parts)], Some(&one)),
        ("between the renames", vec![("last", "last.previous", &all), ("second", "last.writing", &all)], Some(&two)),
        ("both renamed", vec![("second", "last", &all), ("last", "last.previous", &all)], Some(&two)),
        ("old half-removed", vec![("second", "last", &all), ("last", "last.previous", &all[..2])], Some(&two)),
        ("only the old one", vec![("last", "last.previous", &all)], Some(&one)),
    ];
    for (what, folders, expected) in layouts {
        let run = tempfile::tempdir().unwrap();
        for (from, to, files) in folders {
            copy(from, &run.path().join("checkpoints").join(to), files);
        }
        let saved = Saved::of(run.path());
        let found = saved.progress().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(found.as_ref(), expected, "{what}");
        let mut resumed = trainer("llama", Kind::Float);
        if let Some(found) = found {
            saved.restore(&mut resumed, &found).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(resumed.optimizer().taken(), found.optimizer_steps, "{what}");
        }
        // And the next save goes through and tidies up.
        let next = save(run.path(), &resumed, 7);
        assert_eq!(saved.progress().unwrap(), Some(next), "{what}");
        assert_eq!(names(&run.path().join("checkpoints")), ["last"], "{what}");
    }
}

#[test]
fn a_save_that_fails_leaves_the_checkpoint_before() {
    let run = tempfile::tempdir().unwrap();
    let mut trainer = trainer("llama", Kind::Float);
    let one = save(run.path(), &trainer, 1);
    learn(&mut trainer, 2);
    // A file where the folder must go cannot be removed as one.
    fs::write(run.path().join("checkpoints/last.writing"), "in the way").unwrap();
    let saved = Saved::of(run.path());
    let error = saved.save(&trainer, &tokenizer(), &progress(&trainer, 2)).expect_err("something is in the way");
    assert!(error.to_string().contains("last.writing"), "{error}");
    assert_eq!(saved.progress().unwrap(), Some(one));
}

#[test]
fn damage_is_named() {
    let (source, one, _) = two_checkpoints();
    let damage = |file: &str, content: Option<&[u8]>| {
        let path = source.path().join("checkpoints/last").join(file);
        let before = fs::read(&path).unwrap();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let saved = Saved::of(source.path());
        let result = saved.progress().and_then(|_| saved.restore(&mut trainer("llama", Kind::Float), &one));
        fs::write(&path, before).unwrap();
        let error = result.expect_err(file);
        assert!(matches!(error, TrainError::Checkpoint { .. }), "{file}: {error:?}");
        assert!(error.to_string().contains(file), "{file}: {error}");
    };
    let moments = fs::read(source.path().join("checkpoints/last/optimizer.safetensors")).unwrap();
    damage("optimizer.safetensors", None);
    damage("optimizer.safetensors", Some(b""));
    damage("optimizer.safetensors", Some(&moments[..moments.len() / 2]));
    damage("optimizer.safetensors", Some(&[0xff; 300]));
    damage("trainer.json", None);
    damage("trainer.json", Some(b"{\"step\": 1"));
    damage("trainer.json", Some(b"{\"step\": 1, \"colour\": 3}"));
    damage("model.safetensors", None);
    damage("model.safetensors", Some(&[0; 64]));
    damage("manifest.json", None);
    damage("manifest.json", Some(b"{}"));
    // A bit anywhere.
    for name in names(&source.path().join("checkpoints/last")).iter().filter(|name| *name != "manifest.json") {
        let mut bytes = fs::read(source.path().join("checkpoints/last").join(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        damage(name, Some(&bytes));
    }

    let saved = Saved::of(source.path());
    let error = saved.restore(&mut trainer("qwen2", Kind::Float), &one).expect_err("another model");
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
    saved.restore(&mut trainer("llama", Kind::Float), &one).expect("whole again");
}
