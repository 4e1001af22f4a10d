//! Rollouts for training and measuring: strategies, engine, environment and rewards, wired.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use relign_core::{
    Environment, Estimate, EvalSection, Event, GenerateError, Recipe, Reward, RolloutError, Rollouts, Sampling, Scorer,
    Seed, Sink, Spent, Split, Task, ThoughtMarkers, Tree, find,
};
use relign_engine::Engine;
use relign_model::Tokenizer;
use relign_search::{Driver, Judge, Options, STRATEGIES, StrategyFactory};

use crate::{judged, reward_models};

/// Makes the samples of a run.
pub(crate) struct Sampler {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    judge: Judge,
    own: Judge,
    strategy: Box<dyn StrategyFactory>,
    /// The reward model that the strategy's scorer asks.
    scorer: Option<Box<dyn Scorer>>,
    sampling: Sampling,
    thought_markers: ThoughtMarkers,
    seed: Seed,
    measured: Measured,
    interrupt: Arc<AtomicBool>,
    /// Handed every set of held-out trees with the steps they were measured after.
    pub(crate) keep: Box<dyn FnMut(u64, &[Tree]) -> anyhow::Result<()>>,
}

/// What held-out accuracy is measured on.
pub(crate) struct Measured {
    environment: Arc<dyn Environment>,
    section: EvalSection,
}

impl Sampler {
    /// The sampler that `recipe` asks for, judged by `reward`.
    ///
    /// # Errors
    /// If a section does not fit, or no thread can be started.
    pub(crate) fn new(
        recipe: &Recipe,
        engine: Engine,
        tokenizer: Arc<Tokenizer>,
        environment: Arc<dyn Environment>,
        reward: Arc<dyn Reward>,
        interrupt: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let limit = Duration::from_secs_f64(recipe.run.reward_seconds);
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let own = relign_tasks::rewards(&[], Arc::clone(&environment))?;
        let section = &recipe.strategy;
        let strategy = find("strategy", STRATEGIES, &section.name)?;
        Ok(Self {
            engine,
            tokenizer,
            judge: Judge::new(reward, threads, limit)?,
            own: Judge::new(own, threads, limit)?,
            strategy: (strategy.build)(section.settings.clone().into())?,
            scorer: reward_models::of_strategy(section)?,
            sampling: recipe.sampling.clone(),
            thought_markers: recipe.model.thought_markers.clone(),
            seed: recipe.seed,
            measured: Measured { environment, section: recipe.eval.clone() },
            interrupt,
            keep: Box::new(|_, _| Ok(())),
        })
    }

    /// What judging asked of others so far.
    pub(crate) fn spent(&self) -> Option<Spent> {
        [self.judge.spent(), self.own.spent()].into_iter().flatten().reduce(Spent::and)
    }
}

impl relign_train::Sampler for Sampler {
    fn sample(
        &mut self,
        step: u64,
        tasks: Vec<Task>,
        sink: &mut dyn Sink,
        each: &mut dyn FnMut(Tree),
    ) -> Result<(), RolloutError> {
        let mut progress = |p: relign_search::Progress| {
            // A progress bar that cannot be drawn is no reason to stop.
            let _ = sink.event(&Event::Progress { what: "sampling", done: p.done, total: p.total });
        };
        let mut driver = Driver {
            engine: &mut self.engine,
            tokenizer: self.tokenizer.as_ref(),
            judge: &mut self.judge,
            strategy: self.strategy.as_ref(),
            sampling: self.sampling.clone(),
            seed: self.seed.child("rollouts").index(step),
            step,
            interrupt: Arc::clone(&self.interrupt),
            progress: Some(&mut progress),
            options: Options {
                scorer: self.scorer.as_deref(),
                thought_markers: self.thought_markers.clone(),
                ..Options::default()
            },
        };
        driver.run(tasks, each)
    }

    fn measure(&mut self, step: u64, sink: &mut dyn Sink) -> Result<Estimate, RolloutError> {
        let broke = |what: String| RolloutError::Generate(GenerateError::Engine(what));
        let Measured { environment, section } = &self.measured;
        let items = environment.len(Split::Eval).map_or(section.items, |n| n.min(section.items));
        let tasks = (0..items)
            .map(|index| environment.task(Split::Eval, index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|what| RolloutError::Task { task: "held out".to_owned(), what })?;
        let samples = find("strategy", STRATEGIES, "sample").map_err(|e| broke(e.to_string()))?;
        let samples = (samples.build)(serde_json::json!({"n": section.samples})).map_err(|e| broke(e.to_string()))?;
        let mut progress = |p: relign_search::Progress| {
            let _ = sink.event(&Event::Progress { what: "measuring", done: p.done, total: p.total });
        };
        // Equal randomness before and after: what differs is the policy.
        let mut driver = Driver {
            engine: &mut self.engine,
            tokenizer: self.tokenizer.as_ref(),
            judge: &mut self.own,
            strategy: samples.as_ref(),
            sampling: Sampling { temperature: section.temperature, ..self.sampling.clone() },
            seed: self.seed.child("measure"),
            step,
            interrupt: Arc::clone(&self.interrupt),
            progress: Some(&mut progress),
            options: Options { thought_markers: self.thought_markers.clone(), ..Options::default() },
        };
        let mut trees = Vec::new();
        driver.run(tasks, &mut |tree| trees.push(tree))?;
        (self.keep)(step, &trees).map_err(|error| broke(format!("{error:#}")))?;
        Ok(judged::accuracy(&trees))
    }

    fn published(&mut self, version: u64) {
        self.engine.set_version(version);
    }

    fn release(&mut self) {
        self.engine.release();
    }
}
