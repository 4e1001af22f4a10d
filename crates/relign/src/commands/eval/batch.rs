//! All that benchmarks lack, asked as one batch.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relign_bench::results::{Log, Spent, Summary, summary};
use relign_core::{Reward, Sampling, Scorer, Seed, Task, Tree};
use relign_search::{Driver, Judge, Options, Progress, Shared, StrategyFactory, together};

use super::benchmark::Prepared;
use super::board::Board;
use super::logged::{PATIENCE, logged};
use crate::generator::Generator;
use crate::searches::{ByVerifier, RunsCode};
use crate::{benchmarks, reward_models};

/// Called with each benchmark once nothing of it is missing, in their order: its log's file and what it amounts to.
pub(super) type Told<'a> = dyn FnMut(&Prepared, &Path, &Summary) -> anyhow::Result<()> + 'a;

/// A benchmark being measured.
pub(super) struct Measurement<'a> {
    /// How its answers are found for votes.
    answers: ByVerifier,
    what: &'a Prepared,
    log: Log,
    /// The places of the items that are asked now.
    missing: Vec<usize>,
    /// How many of their trees are still to come.
    left: usize,
    /// Judges once more, forgivingly.
    lenient: Option<Judge>,
    /// What a million tokens of prompts and of answers cost.
    price: Option<(f64, f64)>,
    /// Tokens of the prompts of what came back.
    prompts: u64,
    found: Option<Summary>,
}

impl<'a> Measurement<'a> {
    /// What is to be done for the log to be whole.
    ///
    /// # Errors
    /// If its rewards cannot be made or no thread is given.
    pub(super) fn begin(what: &'a Prepared, log: Log, price: Option<(f64, f64)>) -> anyhow::Result<Self> {
        let missing = log.missing();
        if !missing.is_empty() {
            what.reward.prepare().map_err(|why| anyhow::anyhow!("benchmark {}: {why}", what.benchmark.name))?;
        }
        let lenient = match what.benchmark.lenient.as_slice() {
            [] => None,
            // It only reads texts that are there.
            parts => Some(judge(relign_tasks::rewards(parts, Arc::clone(&what.environment))?, usize::MAX)?),
        };
        // Nobody is asked for money and time whether two answers are the same.
        let asks = what.reward.needs().waits > Duration::ZERO;
        let own = || relign_tasks::rewards(&[], Arc::clone(&what.environment));
        let answers = ByVerifier::new(if asks { own()? } else { Arc::clone(&what.reward) });
        Ok(Self { answers, what, log, left: missing.len(), missing, lenient, price, prompts: 0, found: None })
    }

    /// Writes down what came of an item; the log's last line, if it was the last.
    fn take(&mut self, place: usize, tree: &Tree, board: &Board, number: usize) -> anyhow::Result<()> {
        let one = self.what.benchmark.strategy.name != benchmarks::SAMPLE;
        for sample in logged(tree, one, &self.answers, self.lenient.as_mut()) {
            board.judged(number, sample.score.verdict);
            self.log.add(self.missing[place], sample)?;
        }
        self.prompts += tree.cost.map_or(0, |cost| cost.prompts);
        board.done(number);
        self.left -= 1;
        if self.left == 0 { self.end(board.seconds(number)) } else { Ok(()) }
    }

    /// Writes down what the answers of this call took.
    fn spend(&mut self, seconds: f64) -> anyhow::Result<()> {
        if !self.missing.is_empty() {
            let asked = self.missing.iter().flat_map(|&place| &self.log.results().samples[place]).flatten();
            let tokens: u64 = asked.filter_map(|sample| sample.tokens).sum();
            let cost = self.price.map_or(0.0, |(prompts, answers)| {
                (self.prompts as f64).mul_add(prompts, tokens as f64 * answers) / 1e6
            });
            self.log.spend(Spent { seconds, tokens, cost })?;
        }
        Ok(())
    }

    /// Closes the log.
    fn end(&mut self, seconds: f64) -> anyhow::Result<()> {
        self.spend(seconds)?;
        self.log.finish()?;
        self.found = Some(summary(self.log.results()));
        Ok(())
    }
}

/// A judge on threads of its own, as many as fall to one of `judges`.
fn judge(reward: Arc<dyn Reward>, judges: usize) -> anyhow::Result<Judge> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Judge::new(reward, threads.div_ceil(judges.max(1)), PATIENCE)?)
}

/// Asks what is missing of all of them at once: while one waits for its last answers, the next are under way.
///
/// # Errors
/// If the engine breaks or a log cannot be written. What was answered before is safe.
pub(super) fn run(
    seed: u64,
    generator: &mut Generator,
    mut all: Vec<Measurement<'_>>,
    tell: &mut Told<'_>,
) -> anyhow::Result<()> {
    let mut told = 0;
    for measurement in all.iter_mut().filter(|measurement| measurement.missing.is_empty()) {
        measurement.end(0.0)?;
    }
    tell_ended(&all, &mut told, tell)?;
    let asked: Vec<usize> = (0..all.len()).filter(|&at| !all[at].missing.is_empty()).collect();
    let mut judges = Vec::with_capacity(asked.len());
    let mut strategies: Vec<Box<dyn StrategyFactory>> = Vec::with_capacity(asked.len());
    let (mut scorers, mut checkers) = (Vec::new(), Vec::new());
    let mut tasks: Vec<Vec<Task>> = Vec::with_capacity(asked.len());
    let mut sizes = Vec::with_capacity(asked.len());
    for Measurement { what, missing, .. } in asked.iter().map(|&at| &all[at]) {
        judges.push(judge(Arc::clone(&what.reward), asked.len())?);
        let strategy = benchmarks::strategy(&what.benchmark)?;
        scorers.push(reward_models::of_strategy(&what.benchmark.strategy)?);
        checkers.push(strategy.needs_checker().then(RunsCode::new).transpose()?);
        strategies.push(strategy);
        tasks.push(missing.iter().map(|&place| what.items[place].task.clone()).collect());
        sizes.push((what.benchmark.name.clone(), missing.len()));
    }
    let board = Board::new(&sizes);
    let interrupt = Arc::new(AtomicBool::new(false));
    let mut progress: Vec<_> = (0..asked.len()).map(|at| board.listener(at)).collect();
    let tokenizer = generator.tokenizer.as_ref();
    let markers = &generator.thought_markers;
    let shared = Shared::new(&mut generator.source);
    let mut parts: Vec<_> = asked.iter().map(|_| shared.part()).collect();
    let votes: Vec<ByVerifier> = asked.iter().map(|&at| all[at].answers.clone()).collect();
    let setup = judges.iter_mut().zip(tasks).zip(&mut progress).zip(&mut parts).enumerate();
    let rounds = setup.map(|(number, (((judge, tasks), progress), part))| {
        let driver = Driver {
            engine: part,
            tokenizer,
            judge,
            strategy: strategies[number].as_ref(),
            options: Options {
                answers: &votes[number],
                thought_markers: markers.clone(),
                scorer: scorers[number].as_deref(),
                checker: checkers[number].as_ref().map(|checker| checker as &dyn Scorer),
                ..Options::default()
            },
            sampling: Sampling::from(&all[asked[number]].what.benchmark.sampling),
            seed: Seed(seed).child("eval"),
            step: 0,
            interrupt: Arc::clone(&interrupt),
            progress: Some(progress as &mut dyn FnMut(Progress)),
        };
        (driver, tasks)
    });
    let rounds = rounds.collect();
    let mut broken: Option<anyhow::Error> = None;
    let outcome = together(&shared, rounds, &mut |number, place, tree| {
        if broken.is_some() {
            return;
        }
        let mut take = || {
            all[asked[number]].take(place, &tree, &board, number)?;
            board.quietly(|| tell_ended(&all, &mut told, tell))
        };
        if let Err(error) = take() {
            broken = Some(error);
            interrupt.store(true, Ordering::Relaxed);
        }
    });
    board.end();
    // A log that cannot be written interrupts the round: that is the error, not the interruption.
    if let Some(error) = broken {
        return Err(error);
    }
    if outcome.is_err() {
        // What is there already is gone on with, and its time counts.
        for (number, &at) in asked.iter().enumerate() {
            if all[at].left > 0 {
                all[at].spend(board.seconds(number))?;
            }
        }
    }
    Ok(outcome?)
}

/// Tells of those that have ended and before which all have.
fn tell_ended(all: &[Measurement<'_>], told: &mut usize, tell: &mut Told<'_>) -> anyhow::Result<()> {
    while let Some(Measurement { what, log, found: Some(found), .. }) = all.get(*told) {
        tell(what, &log.results().path, found)?;
        *told += 1;
    }
    Ok(())
}
