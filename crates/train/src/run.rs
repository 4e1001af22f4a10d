//! The loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use relign_core::{
    Environment, Estimate, Event, Finish, Recipe, RolloutError, RolloutMetrics, Sink, Split, StepMetrics, StepTimings,
    Task, Tree, Verdict,
};
use relign_model::Tokenizer;

use crate::{Algorithm, Progress, Saved, TrainError, Trainer};

/// Who makes samples: strategies on an engine, with rewards.
pub trait Sampler {
    /// Grows a scored tree for each task, in their order, with the policy as it is now.
    ///
    /// # Errors
    /// If the engine broke or the run was interrupted.
    fn sample(
        &mut self,
        step: u64,
        tasks: Vec<Task>,
        sink: &mut dyn Sink,
        each: &mut dyn FnMut(Tree),
    ) -> Result<(), RolloutError>;

    /// Measures held-out accuracy with the policy as it is after `step` steps.
    ///
    /// # Errors
    /// If the engine broke or the run was interrupted.
    fn measure(&mut self, step: u64, sink: &mut dyn Sink) -> Result<Estimate, RolloutError>;

    /// The policy's weights changed in place and have this version now.
    fn published(&mut self, version: u64);

    /// Gives memory back while the trainer works.
    fn release(&mut self);
}

/// Everything a run works with.
pub struct Run<'a> {
    /// What to do.
    pub recipe: &'a Recipe,
    /// The policy and its optimizer.
    pub trainer: &'a mut Trainer,
    /// How credit becomes a loss.
    pub algorithm: &'a dyn Algorithm,
    /// Where tasks come from.
    pub environment: &'a dyn Environment,
    /// Who makes samples.
    pub sampler: &'a mut dyn Sampler,
    /// Who hears of it.
    pub sink: &'a mut dyn Sink,
    /// Goes with the weights into every checkpoint.
    pub tokenizer: &'a Tokenizer,
    /// The run's folder.
    pub folder: &'a Path,
    /// Set from elsewhere, it ends the run after saving.
    pub interrupt: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done and tokens generated.
    pub progress: Progress,
    /// Held-out accuracy at the end, if the run got there.
    pub end: Option<Estimate>,
    /// Whether it was interrupted; it can be resumed.
    pub interrupted: bool,
}

impl Run<'_> {
    /// Goes on after `progress` until the recipe's last step.
    ///
    /// # Errors
    /// See [`TrainError`]. Whatever the error, the newest checkpoint is whole.
    pub fn run(mut self, mut progress: Progress) -> Result<Outcome, TrainError> {
        let recipe = self.recipe;
        // The loss is of `softmax(logits / temperature)`: nothing else may be sampled from.
        if let Some(departure) = recipe.sampling.departures().into_iter().next() {
            return Err(departure.within("sampling").into());
        }
        let saved = Saved::of(self.folder);
        let steps = recipe.run.steps;
        let mut kept = progress.step;
        self.sampler.published(self.trainer.policy().version());
        self.tell(&Event::Started { step: progress.step, steps })?;
        if progress.step == 0 && recipe.eval.items > 0 && progress.base.is_none() {
            match self.measure(0)? {
                Some(base) => progress.base = Some(base),
                None => return Ok(Outcome { progress, end: None, interrupted: true }),
            }
        }
        while progress.step < steps {
            // After the step was saved: a run that ends in between finds the measurement still due.
            if self.measurement_due(&progress) {
                let measured = self.measure(progress.step)?.is_some();
                if !measured {
                    if kept != progress.step {
                        self.save(&saved, &progress)?;
                    }
                    return Ok(Outcome { progress, end: None, interrupted: true });
                }
                progress.measured = progress.step;
            }
            let done = !self.interrupt.load(Ordering::Relaxed) && self.step(&mut progress)?;
            let every = recipe.checkpoint.every;
            let due = done && every > 0 && progress.step.is_multiple_of(every);
            if (due || !done || progress.step == steps) && kept != progress.step {
                self.save(&saved, &progress)?;
                kept = progress.step;
            }
            if !done {
                return Ok(Outcome { progress, end: None, interrupted: true });
            }
        }
        let end = if recipe.eval.items > 0 { self.measure(steps)? } else { None };
        let interrupted = recipe.eval.items > 0 && end.is_none();
        Ok(Outcome { progress, end, interrupted })
    }

    fn measurement_due(&self, progress: &Progress) -> bool {
        let (step, eval) = (progress.step, &self.recipe.eval);
        eval.items > 0 && eval.every > 0 && step > 0 && step.is_multiple_of(eval.every) && progress.measured != step
    }

    fn tell(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        self.sink.event(event).map_err(TrainError::Sink)
    }

    fn save(&mut self, saved: &Saved, progress: &Progress) -> Result<(), TrainError> {
        saved.save(self.trainer, self.tokenizer, progress)?;
        let path = saved.last();
        self.tell(&Event::Saved { step: progress.step, path: &path })
    }

    /// Held-out accuracy; `None` when interrupted.
    fn measure(&mut self, step: u64) -> Result<Option<Estimate>, TrainError> {
        match self.sampler.measure(step, self.sink) {
            Ok(accuracy) => {
                self.tell(&Event::Evaluated { step, accuracy: &accuracy })?;
                Ok(Some(accuracy))
            }
            Err(RolloutError::Interrupted) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One step: sample, learn, tell. False when interrupted before anything was learned.
    fn step(&mut self, progress: &mut Progress) -> Result<bool, TrainError> {
        let step = progress.step + 1;
        let started = Instant::now();
        let tasks = self.tasks(step)?;
        let mut trees = Vec::with_capacity(tasks.len());
        match self.sampler.sample(step, tasks, self.sink, &mut |tree| trees.push(tree)) {
            Ok(()) => {}
            Err(RolloutError::Interrupted) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let rollouts = summarise(step, &trees)?;
        let rollout_seconds = started.elapsed().as_secs_f64();

        self.sampler.release();
        let training = Instant::now();
        let seed = self.recipe.seed.child("update").index(step);
        let sink = &mut *self.sink;
        let trainer = &mut *self.trainer;
        // The tensor library reports failures, want of memory above all, by panicking. Weights half updated are left to
        // the error that ends the run: the newest checkpoint is whole.
        let update = catch_unwind(AssertUnwindSafe(|| {
            trainer.update(step, &trees, self.algorithm, seed, &mut |done, total| {
                // A progress bar that cannot be drawn is no reason to stop.
                let _ = sink.event(&Event::Progress { what: "training", done, total });
            })
        }))
        .unwrap_or_else(|panic| {
            Err(TrainError::Backend(format!("step {step}: {}", relign_model::of_panic(panic.as_ref()))))
        })?;
        self.sampler.published(self.trainer.policy().version());
        let train_seconds = training.elapsed().as_secs_f64();

        progress.step = step;
        progress.tokens += rollouts.tokens;
        progress.version = self.trainer.policy().version();
        progress.optimizer_steps = self.trainer.optimizer().taken();
        let timings = StepTimings {
            step,
            seconds: started.elapsed().as_secs_f64(),
            rollout_seconds,
            train_seconds,
            rollout_tokens_per_second: rollouts.tokens as f64 / rollout_seconds.max(1e-9),
            train_tokens_per_second: update.forwarded_tokens as f64 / train_seconds.max(1e-9),
            peak_rss: peak_rss(),
        };
        for tree in &trees {
            self.tell(&Event::Tree(tree))?;
        }
        let metrics = StepMetrics { step, rollouts, update, tokens: progress.tokens };
        self.tell(&Event::Step { metrics: &metrics, timings: &timings })?;
        Ok(true)
    }

    /// The tasks of a step. Where an environment has an end, each pass over it has its own order.
    fn tasks(&self, step: u64) -> Result<Vec<Task>, TrainError> {
        let per_step = self.recipe.run.tasks as u64;
        let mut order: Option<(u64, Vec<u64>)> = None;
        let mut tasks = Vec::with_capacity(self.recipe.run.tasks);
        for place in (step - 1) * per_step..step * per_step {
            let index = match self.environment.len(Split::Train) {
                None => place,
                Some(0) => return Err(TrainError::Environment("expected training tasks, got none".to_owned())),
                Some(n) => {
                    let pass = place / n;
                    if order.as_ref().is_none_or(|(p, _)| *p != pass) {
                        order = Some((pass, self.shuffled(n, pass)));
                    }
                    order.as_ref().map_or(place % n, |(_, order)| order[(place % n) as usize])
                }
            };
            tasks.push(self.environment.task(Split::Train, index).map_err(TrainError::Environment)?);
        }
        Ok(tasks)
    }

    fn shuffled(&self, n: u64, pass: u64) -> Vec<u64> {
        let seed = self.recipe.seed.child("order").index(pass);
        let mut order: Vec<u64> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, seed.below(i, i + 1) as usize);
        }
        order
    }
}

/// What a step's trees amount to.
fn summarise(step: u64, trees: &[Tree]) -> Result<RolloutMetrics, TrainError> {
    let mut metrics = RolloutMetrics::default();
    let (mut values, mut correct, mut unparsed, mut truncated) = (Vec::new(), 0_u64, 0_u64, 0_u64);
    let (mut flat, mut thoughts, mut first_failure) = (0_u64, 0_u64, None);
    for tree in trees {
        let before = values.len();
        for leaf in tree.leaves() {
            let node = &tree.nodes[leaf];
            metrics.samples += 1;
            metrics.tokens += tree.path(leaf).iter().map(|&n| tree.nodes[n].logprobs.len() as u64).sum::<u64>();
            thoughts += node.thought_tokens.unwrap_or(0);
            truncated += u64::from(node.finish == Some(Finish::Length));
            match node.score.as_ref().map(|s| (s.verdict, s)) {
                Some((Verdict::Failed, score)) => {
                    metrics.failed += 1;
                    first_failure.get_or_insert_with(|| score.reason.clone());
                }
                Some((verdict, score)) => {
                    values.push(score.value);
                    correct += u64::from(verdict == Verdict::Correct);
                    unparsed += u64::from(verdict == Verdict::Unparsed);
                }
                None => metrics.failed += 1,
            }
        }
        let group = &values[before..];
        flat += u64::from(group.iter().all(|v| *v == group[0]));
    }
    if values.is_empty() {
        let samples = metrics.samples as usize;
        let reason = first_failure.unwrap_or_else(|| "no sample was scored".to_owned());
        return Err(TrainError::AllFailed { step, samples, reason });
    }
    let n = values.len() as f64;
    let samples = metrics.samples as f64;
    metrics.reward = values.iter().sum::<f64>() / n;
    metrics.reward_std = (values.iter().map(|v| (v - metrics.reward).powi(2)).sum::<f64>() / n).sqrt();
    metrics.accuracy = correct as f64 / n;
    metrics.unparsed = unparsed as f64 / samples;
    metrics.truncated = truncated as f64 / samples;
    metrics.length = metrics.tokens as f64 / samples;
    metrics.thought_length = thoughts as f64 / samples;
    metrics.answer_length = metrics.tokens.saturating_sub(thoughts) as f64 / samples;
    metrics.flat_groups = flat as f64 / trees.len().max(1) as f64;
    Ok(metrics)
}

/// The process's largest resident memory so far, in bytes; 0 where the system does not say.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
