//! The loop, with a sampler that plays from a script.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{options, policy, tokens, weights};
use relign_core::{
    Environment, Estimate, Event, GenerateError, Message, Node, Recipe, RolloutError, Score, Seed, Sink, Split,
    StepMetrics, Task, Transcript, Tree,
};
use relign_model::Kind;
use relign_train::algorithms::Grpo;
use relign_train::{Outcome, Run, Sampler, Saved, TrainError, Trainer, TrainerOptions};
use serde_json::json;

/// A list of `n` tasks, or one without end.
struct Numbers(Option<u64>);

impl Environment for Numbers {
    fn len(&self, split: Split) -> Option<u64> {
        if split == Split::Train { self.0 } else { Some(10) }
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        if self.0.is_some_and(|n| index >= n) {
            return Err(format!("expected an index below {:?}, got {index}", self.0));
        }
        let id = format!("numbers/{}/{index}", split.name());
        Ok(Task { id, messages: vec![Message::user(index.to_string())], ..Task::default() })
    }

    fn score(&self, _: &Task, _: &Transcript) -> Score {
        Score::correct("")
    }

    fn oracle(&self, _: &Task) -> Transcript {
        Transcript::default()
    }
}

/// What the sampler was asked for and what goes wrong when.
#[derive(Default)]
struct Script {
    calls: Vec<String>,
    interrupt_at: Option<u64>,
    interrupt_measure_at: Option<u64>,
    break_at: Option<u64>,
    fail_all_at: Option<u64>,
}

impl Sampler for Script {
    fn sample(
        &mut self,
        step: u64,
        tasks: Vec<Task>,
        _: &mut dyn Sink,
        each: &mut dyn FnMut(Tree),
    ) -> Result<(), RolloutError> {
        self.calls.push(format!("sample {step}"));
        for (place, task) in tasks.into_iter().enumerate() {
            if place == 1 && self.interrupt_at == Some(step) {
                return Err(RolloutError::Interrupted);
            }
            if place == 1 && self.break_at == Some(step) {
                return Err(GenerateError::Engine("no more tokens".to_owned()).into());
            }
            let seed = Seed(7).child(&task.id).index(step);
            let mut tree = Tree::new(task, tokens(seed.0, 4));
            for i in 0..3 {
                let own = tokens(seed.index(i).0, 2 + i as usize);
                let mut score = if i == 0 { Score::correct("") } else { Score::wrong("") };
                if i == 2 || self.fail_all_at == Some(step) {
                    score = Score::failed(format!("no judge for {own:?}"));
                }
                tree.push(Node { score: Some(score), ..common::node(0, &own) });
            }
            each(tree);
        }
        Ok(())
    }

    fn measure(&mut self, step: u64, _: &mut dyn Sink) -> Result<Estimate, RolloutError> {
        self.calls.push(format!("measure {step}"));
        if self.interrupt_measure_at == Some(step) {
            return Err(RolloutError::Interrupted);
        }
        Ok(Estimate { accuracy: step as f64 / 10.0, low: 0.0, high: 1.0, n: 10 })
    }

    fn published(&mut self, version: u64) {
        self.calls.push(format!("published {version}"));
    }

    fn release(&mut self) {
        self.calls.push("release".to_owned());
    }
}

#[derive(Default)]
struct Heard {
    events: Vec<String>,
    metrics: Vec<StepMetrics>,
    tasks: Vec<String>,
}

impl Sink for Heard {
    fn event(&mut self, event: &Event<'_>) -> std::io::Result<()> {
        match event {
            Event::Started { step, steps } => self.events.push(format!("started {step} of {steps}")),
            Event::Progress { .. } => {}
            Event::Step { metrics, timings } => {
                assert_eq!(metrics.step, timings.step);
                self.events.push(format!("step {}", metrics.step));
                self.metrics.push((*metrics).clone());
            }
            Event::Tree(tree) => self.tasks.push(tree.task.id.clone()),
            Event::Evaluated { step, .. } => self.events.push(format!("evaluated {step}")),
            Event::Saved { step, path } => {
                assert!(path.join("trainer.json").exists());
                self.events.push(format!("saved {step}"));
            }
            Event::Warning(text) => self.events.push(format!("warning {text}")),
        }
        Ok(())
    }
}

fn recipe(change: serde_json::Value) -> Recipe {
    let mut recipe = json!({
        "seed": 3, "model": {"path": "tiny"}, "environment": {"name": "numbers"}, "algorithm": {"name": "grpo"},
        "run": {"steps": 6, "tasks": 4, "minibatches": 2}, "eval": {"items": 10, "every": 2},
        "checkpoint": {"every": 3},
    });
    for (section, keys) in change.as_object().unwrap() {
        for (key, value) in keys.as_object().unwrap() {
            recipe[section][key] = value.clone();
        }
    }
    serde_json::from_value(recipe).unwrap()
}

struct Played {
    outcome: Result<Outcome, TrainError>,
    heard: Heard,
    calls: Vec<String>,
    trainer: Trainer,
}

/// Runs in `folder` from its checkpoint, as a new process would.
fn play(folder: &Path, recipe: &Recipe, tasks: Option<u64>, mut script: Script, interrupt: &AtomicBool) -> Played {
    let options = TrainerOptions { minibatches: recipe.run.minibatches, steps: recipe.run.steps, ..options() };
    let mut trainer = Trainer::new(policy("llama", Kind::Float), false, options);
    let saved = Saved::of(folder);
    let progress = saved.progress().unwrap().unwrap_or_default();
    if progress.step > 0 {
        saved.restore(&mut trainer, &progress).unwrap();
    }
    let mut heard = Heard::default();
    let outcome = Run {
        recipe,
        trainer: &mut trainer,
        algorithm: &Grpo::default(),
        environment: &Numbers(tasks),
        sampler: &mut script,
        sink: &mut heard,
        tokenizer: &common::tokenizer(),
        folder,
        interrupt,
    }
    .run(progress);
    Played { outcome, heard, calls: script.calls, trainer }
}

fn undisturbed(folder: &Path) -> Played {
    play(folder, &recipe(json!({})), None, Script::default(), &AtomicBool::new(false))
}

#[test]
fn a_run_tells_what_happens_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let Played { outcome, heard, calls, trainer } = undisturbed(folder.path());
    let outcome = outcome.unwrap();
    assert_eq!(
        heard.events,
        [
            "started 0 of 6",
            "evaluated 0",
            "step 1",
            "step 2",
            "evaluated 2",
            "step 3",
            "saved 3",
            "step 4",
            "evaluated 4",
            "step 5",
            "step 6",
            "saved 6",
            "evaluated 6",
        ]
    );
    assert_eq!(calls[..5], ["published 0", "measure 0", "sample 1", "release", "published 2"]);
    assert_eq!((outcome.interrupted, outcome.end.unwrap().accuracy), (false, 0.6));
    assert_eq!(outcome.progress.base.unwrap().accuracy, 0.0);
    assert_eq!(outcome.progress, Saved::of(folder.path()).progress().unwrap().unwrap());
    assert_eq!((outcome.progress.step, outcome.progress.version, trainer.policy().version()), (6, 12, 12));

    let first = &heard.metrics[0];
    assert_eq!((first.rollouts.samples, first.rollouts.failed, first.rollouts.tokens), (12, 4, 4 * (2 + 3 + 4)));
    assert_eq!((first.rollouts.reward, first.rollouts.accuracy, first.rollouts.flat_groups), (0.5, 0.5, 0.0));
    assert_eq!((first.rollouts.length, first.rollouts.truncated), (3.0, 0.0));
    assert_eq!(first.update.trained_tokens, 4 * (2 + 3), "failed samples are not trained on");
    assert_eq!(heard.metrics[5].tokens, 6 * 36);
    assert_eq!(heard.tasks[..5], [0, 1, 2, 3, 4].map(|i| format!("numbers/train/{i}")));
}

#[test]
fn an_interrupted_run_goes_on_as_if_nothing_had_happened() {
    let whole = tempfile::tempdir().unwrap();
    let whole = undisturbed(whole.path());
    for at in [1, 3, 4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let script = Script { interrupt_at: Some(at), ..Script::default() };
        let broken = play(folder.path(), &recipe(json!({})), None, script, &AtomicBool::new(false));
        let outcome = broken.outcome.unwrap();
        assert!(outcome.interrupted && outcome.end.is_none());
        assert_eq!(outcome.progress.step, at - 1);
        let kept = Saved::of(folder.path()).progress().unwrap();
        assert_eq!(kept.map_or(0, |p| p.step), at - 1, "all that was learned is kept");

        let rest = undisturbed(folder.path());
        assert_eq!(rest.heard.events[0], format!("started {} of 6", at - 1));
        assert_eq!(rest.outcome.unwrap(), *whole.outcome.as_ref().unwrap());
        let metrics = [broken.heard.metrics, rest.heard.metrics].concat();
        assert_eq!(metrics, whole.heard.metrics, "interrupted at step {at}");
        assert!(weights(&rest.trainer) == weights(&whole.trainer), "interrupted at step {at}");
    }
}

#[test]
fn a_killed_run_repeats_the_steps_since_its_checkpoint() {
    let whole = tempfile::tempdir().unwrap();
    let whole = undisturbed(whole.path());
    let folder = tempfile::tempdir().unwrap();
    let script = Script { break_at: Some(5), ..Script::default() };
    let broken = play(folder.path(), &recipe(json!({})), None, script, &AtomicBool::new(false));
    let error = broken.outcome.expect_err("the engine broke");
    assert!(error.to_string().contains("no more tokens"), "{error}");
    let rest = undisturbed(folder.path());
    assert_eq!(rest.heard.events[0], "started 3 of 6");
    assert_eq!(rest.heard.metrics, whole.heard.metrics[3..]);
    assert!(weights(&rest.trainer) == weights(&whole.trainer));
}

#[test]
fn a_signal_ends_the_run_between_steps_and_a_measurement_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(true);
    let played = play(folder.path(), &recipe(json!({})), None, Script::default(), &stop);
    assert!(played.outcome.unwrap().interrupted);
    assert_eq!(played.heard.events, ["started 0 of 6", "evaluated 0"]);
    stop.store(false, Ordering::Relaxed);

    for at in [0, 6] {
        let folder = tempfile::tempdir().unwrap();
        let script = Script { interrupt_measure_at: Some(at), ..Script::default() };
        let outcome = play(folder.path(), &recipe(json!({})), None, script, &stop).outcome.unwrap();
        assert!(outcome.interrupted, "{at}");
        assert_eq!(outcome.progress.step, at);
        let rest = undisturbed(folder.path());
        assert_eq!(rest.outcome.unwrap().end.unwrap().accuracy, 0.6);
        assert_eq!(rest.heard.metrics.len() as u64, 6 - at);
    }
}

#[test]
fn a_step_whose_rewards_all_failed_stops_the_run_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script { fail_all_at: Some(4), ..Script::default() };
    let played = play(folder.path(), &recipe(json!({})), None, script, &AtomicBool::new(false));
    let error = played.outcome.expect_err("nothing to learn from");
    assert!(matches!(&error, TrainError::AllFailed { step: 4, samples: 12, .. }), "{error:?}");
    assert!(error.to_string().contains("no judge for ["), "{error}");
    assert_eq!(Saved::of(folder.path()).progress().unwrap().unwrap().step, 3, "the checkpoint before is whole");
}

#[test]
fn a_pass_over_finite_tasks_repeats_none() {
    let change = json!({"run": {"steps": 7, "tasks": 5, "minibatches": 1}, "eval": {"items": 0}});
    let play = |seed: u64| {
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe { seed: Seed(seed), ..recipe(change.clone()) };
        let played = play(folder.path(), &recipe, Some(7), Script::default(), &AtomicBool::new(false));
        assert_eq!(played.outcome.unwrap().end, None, "nothing was to be measured");
        played.heard.tasks
    };
    let tasks = play(3);
    let passes: Vec<&[String]> = tasks.chunks(7).collect();
    assert_eq!(passes.len(), 5, "7 steps of 5 are 5 passes over 7");
    for pass in &passes {
        assert_eq!(pass.iter().collect::<BTreeSet<_>>().len(), 7, "{pass:?}");
    }
    assert!(passes.windows(2).any(|p| p[0] != p[1]), "each pass has its own order");
    assert_eq!(tasks, play(3));
    assert_ne!(tasks, play(4));

    let folder = tempfile::tempdir().unwrap();
    let none = self::play(folder.path(), &recipe(change), Some(0), Script::default(), &AtomicBool::new(false));
    assert!(none.outcome.expect_err("no tasks").to_string().contains("got none"));
}
