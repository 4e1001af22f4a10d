//! Many strategies on one engine.

mod advance;
pub(crate) mod arrivals;
mod round;
mod thoughts;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use relign_core::{
    Answers, Generate, RolloutError, Rollouts, Sampling, Scorer, Seed, Task, ThoughtMarkers, Tokenize, Tree,
    opens_thought,
};

use round::{Growth, hand_over};
pub(crate) use round::{Round, hand_over_now};

use crate::journal::{Journal, Told};
use crate::{Budget, Judge, LastLine, Start, StrategyFactory};

/// How long to wait for scores while the engine has nothing to do, before looking for an interrupt.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

/// Runs a strategy for every task at once on one engine and has the outcome scored.
///
/// A driver is cheap to make: it borrows the engine and the judge, so one is made for each round of
/// sampling and the policy can change in between.
///
/// The engine may finish requests in any order. Each strategy nevertheless hears of completions and
/// scores in the order in which it asked for them, so its tree depends on the seed alone. The
/// request numbered `k` by a task's strategy draws from `seed.child(task.id).index(k)`, if the
/// strategy follows the convention of [`Sample`](crate::strategies::Sample).
pub struct Driver<'a> {
    /// Makes the tokens.
    pub engine: &'a mut dyn Generate,
    /// Turns tasks into prompts.
    pub tokenizer: &'a dyn Tokenize,
    /// Scores the nodes that strategies name.
    pub judge: &'a mut Judge,
    /// How tokens are spent on each task.
    pub strategy: &'a dyn StrategyFactory,
    /// How tokens are sampled.
    pub sampling: Sampling,
    /// The randomness of this round; a task seen again in another round needs another seed.
    pub seed: Seed,
    /// The training step, written into the trees; 0 outside training.
    pub step: u64,
    /// Set from elsewhere, it ends the round with [`RolloutError::Interrupted`].
    pub interrupt: Arc<AtomicBool>,
    /// Called whenever something came back.
    pub progress: Option<&'a mut dyn FnMut(Progress)>,
    /// What a search may spend, and on what it leans.
    pub options: Options<'a>,
}

/// Called with a task's id and what its strategy was told.
pub type Record<'a> = dyn FnMut(&str, &Told) -> std::io::Result<()> + 'a;

/// What a search may spend, what it leans on, and what is kept of it. By default nothing is bounded or kept.
pub struct Options<'a> {
    /// What may be spent on each task.
    pub budget: Budget,
    /// How long the round may take. Then every strategy is stopped, and what is in flight is cancelled; what comes of
    /// it depends on the machine's speed.
    pub limit: Option<Duration>,
    /// How many tasks are searched at once; 0 for all. Each begins once an earlier one has ended, and what comes of it
    /// does not depend on this.
    pub at_once: usize,
    /// Final answers and which of them are the same.
    pub answers: &'a dyn Answers,
    /// What marks thoughts beside the usual marks.
    pub thought_markers: ThoughtMarkers,
    /// What the scorers `outcome`, `process` and `reward_model` ask.
    pub scorer: Option<&'a dyn Scorer>,
    /// What tries out the steps of a strategy whose steps must work, such as a sandbox that runs their code.
    pub checker: Option<&'a dyn Scorer>,
    /// What the strategies were told before they were cut short: it is told again, and they go on from there.
    pub journal: Journal,
    /// Takes down what the strategies are told.
    pub record: Option<&'a mut Record<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        let (budget, journal) = (Budget::default(), Journal::new());
        Self {
            budget,
            limit: None,
            at_once: 0,
            answers: &LastLine,
            thought_markers: ThoughtMarkers::default(),
            scorer: None,
            checker: None,
            journal,
            record: None,
        }
    }
}

/// How far a round of rollouts has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Completions that came back.
    pub done: usize,
    /// Completions expected; a strategy that decides as it goes may take more or fewer.
    pub total: usize,
    /// Tokens in them.
    pub tokens: u64,
}

/// Tokens at a prompt's end that tell whether it ends within a thought.
const PROMPT_END: usize = 16;

impl Rollouts for Driver<'_> {
    fn run(&mut self, tasks: Vec<Task>, each: &mut dyn FnMut(Tree)) -> Result<(), RolloutError> {
        let mut round = self.prepare(tasks)?;
        let outcome = self.round(&mut round, each);
        if outcome.is_err() {
            self.abandon(&round);
        }
        outcome
    }
}

impl<'a> Driver<'a> {
    /// Renders every task, so that one which cannot be a prompt is found before anything is spent.
    pub(crate) fn prepare(&mut self, tasks: Vec<Task>) -> Result<Round<'a>, RolloutError> {
        let total = tasks.len() * self.strategy.samples();
        let mut growths = Vec::with_capacity(tasks.len());
        for task in tasks {
            let prompt = self
                .tokenizer
                .render(&task.messages)
                .map_err(|what| RolloutError::Task { task: task.id.clone(), what })?;
            let seed = self.seed.child(&task.id);
            let shared = Arc::new(task.clone());
            let end = self.tokenizer.decode(&prompt[prompt.len().saturating_sub(PROMPT_END)..]);
            let mut tree = Tree::new(task, prompt);
            tree.in_thought = opens_thought(&end, &self.options.thought_markers);
            tree.thought_markers = self.options.thought_markers.clone();
            tree.step = self.step;
            let start = Start {
                tree,
                sampling: self.sampling.clone(),
                seed,
                budget: self.options.budget,
                tokenizer: self.tokenizer,
                answers: self.options.answers,
                scorer: self.options.scorer,
                checker: self.options.checker,
            };
            let strategy = self
                .strategy
                .start(start)
                .map_err(|what| RolloutError::Task { task: shared.id.clone(), what: format!("strategy: {what}") })?;
            let recorded = self.options.journal.remove(&shared.id).unwrap_or_default();
            growths.push(Some(Growth {
                task: shared,
                strategy,
                recorded,
                known: 0,
                owed: VecDeque::new(),
                failures: VecDeque::new(),
                tokenless: false,
            }));
        }
        Ok(Round {
            tokenizer: self.tokenizer,
            growths,
            next: 0,
            begun: 0,
            requests: HashMap::new(),
            next_request: 0,
            tickets: HashMap::new(),
            unvalued: Vec::new(),
            end: self.options.limit.and_then(|limit| Instant::now().checked_add(limit)),
            progress: Progress { total, ..Progress::default() },
        })
    }

    fn round(&mut self, round: &mut Round<'a>, each: &mut dyn FnMut(Tree)) -> Result<(), RolloutError> {
        self.begin(round)?;
        hand_over(round, each);
        while !round.is_over() {
            self.step(round, PATIENCE)?;
            hand_over(round, each);
        }
        Ok(())
    }

    /// Takes up whatever came back. With nothing asked of the engine it waits for scores, up to `patience`.
    pub(crate) fn step(&mut self, round: &mut Round<'a>, patience: Duration) -> Result<(), RolloutError> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(RolloutError::Interrupted);
        }
        let mut touched = self.completions(round)?;
        touched.extend(self.values(round));
        // The engine's work leaves no time to wait; without any, scores are all there is.
        let patience = if round.requests.is_empty() && touched.is_empty() { patience } else { Duration::ZERO };
        if !round.tickets.is_empty() {
            touched.extend(self.scores(round, patience));
        }
        if round.end.is_some_and(|end| Instant::now() >= end) {
            touched.extend(self.stop(round));
        }
        touched.sort_unstable();
        touched.dedup();
        for index in touched {
            self.advance(round, index)?;
        }
        self.begin(round)
    }

    /// Begins as many tasks as may be searched at once.
    pub(crate) fn begin(&mut self, round: &mut Round<'a>) -> Result<(), RolloutError> {
        let most = if self.options.at_once == 0 { usize::MAX } else { self.options.at_once };
        while round.begun < round.growths.len() && round.at_work() < most {
            round.begun += 1;
            self.advance(round, round.begun - 1)?;
        }
        Ok(())
    }

    /// Ends every strategy, once; the tasks at work.
    fn stop(&mut self, round: &mut Round<'a>) -> Vec<usize> {
        round.end = None;
        let mut ids: Vec<u64> = round.requests.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.engine.cancel(id);
        }
        let mut stopped = Vec::new();
        for (index, growth) in round.growths.iter_mut().enumerate() {
            if let Some(growth) = growth {
                growth.strategy.stop();
                if index < round.begun {
                    stopped.push(index);
                }
            }
        }
        stopped
    }

    /// Leaves engine and judge free of a round that failed.
    fn abandon(&mut self, round: &Round<'a>) {
        self.judge.clear();
        arrivals::abandon(self.engine, round.requests.keys().copied());
    }
}
