//! Many strategies on one engine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relign_core::{
    Completion, Finish, Generate, GenerateError, NodeId, Request, RolloutError, Rollouts, Sampling, Score, Seed,
    Strategy, Task, Tokenize, Tree,
};

use crate::{Judge, StrategyFactory};

/// How long to wait for scores while the engine has nothing to do, before looking for an interrupt.
const PATIENCE: Duration = Duration::from_millis(20);

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

/// A strategy at work.
struct Growth {
    task: Arc<Task>,
    strategy: Box<dyn Strategy>,
    /// What was asked for and not told yet, in the order of asking.
    owed: VecDeque<Owed>,
    /// Why requests failed, in the order in which the strategy heard of it.
    failures: VecDeque<String>,
    /// Whether a completion came without its tokens, so that nothing can go on from it.
    tokenless: bool,
}

/// An answer that a strategy waits for.
enum Owed {
    Completion { id: u64, got: Option<Result<Completion, String>> },
    Score { node: NodeId, ticket: Option<u64>, got: Option<Score> },
}

impl Owed {
    fn arrived(&self) -> bool {
        match self {
            Self::Completion { got, .. } => got.is_some(),
            Self::Score { got, .. } => got.is_some(),
        }
    }
}

/// The state of one round.
struct Round {
    /// By task; `None` once handed over.
    growths: Vec<Option<Growth>>,
    /// The first task whose tree has not been handed over.
    next: usize,
    /// The task of each request in flight and the strategy's own number for it.
    requests: HashMap<u64, (usize, u64)>,
    next_request: u64,
    /// The task of each transcript being judged.
    tickets: HashMap<u64, usize>,
    progress: Progress,
}

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

impl Driver<'_> {
    /// Renders every task, so that one which cannot be a prompt is found before anything is spent.
    fn prepare(&self, tasks: Vec<Task>) -> Result<Round, RolloutError> {
        let total = tasks.len() * self.strategy.samples();
        let mut growths = Vec::with_capacity(tasks.len());
        for task in tasks {
            let prompt = self
                .tokenizer
                .render(&task.messages)
                .map_err(|what| RolloutError::Task { task: task.id.clone(), what })?;
            let seed = self.seed.child(&task.id);
            let shared = Arc::new(task.clone());
            let mut tree = Tree::new(task, prompt);
            tree.step = self.step;
            let strategy = self.strategy.start(tree, &self.sampling, seed);
            growths.push(Some(Growth {
                task: shared,
                strategy,
                owed: VecDeque::new(),
                failures: VecDeque::new(),
                tokenless: false,
            }));
        }
        Ok(Round {
            growths,
            next: 0,
            requests: HashMap::new(),
            next_request: 0,
            tickets: HashMap::new(),
            progress: Progress { total, ..Progress::default() },
        })
    }

    fn round(&mut self, round: &mut Round, each: &mut dyn FnMut(Tree)) -> Result<(), RolloutError> {
        for index in 0..round.growths.len() {
            self.advance(round, index)?;
        }
        hand_over(round, each);
        while round.next < round.growths.len() {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(RolloutError::Interrupted);
            }
            let mut touched = self.completions(round)?;
            // The engine's work leaves no time to wait; without any, scores are all there is.
            let patience = if round.requests.is_empty() { PATIENCE } else { Duration::ZERO };
            if !round.tickets.is_empty() {
                touched.extend(self.scores(round, patience));
            }
            touched.sort_unstable();
            touched.dedup();
            for index in touched {
                self.advance(round, index)?;
            }
            hand_over(round, each);
        }
        Ok(())
    }

    /// Polls the engine; the tasks that something came back for.
    fn completions(&mut self, round: &mut Round) -> Result<Vec<usize>, RolloutError> {
        if round.requests.is_empty() {
            return Ok(Vec::new());
        }
        // One failed request is told to its strategy as an answer that nobody can judge.
        let answers: Vec<(u64, Result<Completion, String>)> = match self.engine.poll() {
            Ok(completions) => completions.into_iter().map(|completion| (completion.id, Ok(completion))).collect(),
            Err(GenerateError::Failed { id, what }) => vec![(id, Err(what))],
            Err(broken) => return Err(broken.into()),
        };
        if answers.is_empty() && self.engine.in_flight() == 0 {
            let what = format!("expected {} more completions, but nothing is in flight", round.requests.len());
            return Err(GenerateError::Engine(what).into());
        }
        let mut touched = Vec::with_capacity(answers.len());
        for (id, mut answer) in answers {
            let Some((index, own)) = round.requests.remove(&id) else {
                let what = format!("completion of request {id}, which is not in flight");
                return Err(GenerateError::Engine(what).into());
            };
            if let Ok(completion) = &mut answer {
                // None at all is what a server gives that does not tell them.
                if !completion.logprobs.is_empty() && completion.tokens.len() != completion.logprobs.len() {
                    let (tokens, logprobs) = (completion.tokens.len(), completion.logprobs.len());
                    let what = format!("expected {tokens} log-probabilities for as many tokens, got {logprobs}");
                    return Err(GenerateError::Engine(what).into());
                }
                completion.id = own;
                round.progress.tokens += completion.tokens.len() as u64;
            }
            round.progress.done += 1;
            let owed = round.growths[index].iter_mut().flat_map(|growth| &mut growth.owed);
            for entry in owed {
                if let Owed::Completion { id, got } = entry
                    && *id == own
                    && got.is_none()
                {
                    *got = Some(answer);
                    break;
                }
            }
            touched.push(index);
        }
        if !touched.is_empty()
            && let Some(progress) = &mut self.progress
        {
            progress(round.progress);
        }
        Ok(touched)
    }

    /// Collects scores; the tasks that something came back for.
    fn scores(&mut self, round: &mut Round, patience: Duration) -> Vec<usize> {
        let mut touched = Vec::new();
        for (ticket, score) in self.judge.drain(patience) {
            // A ticket of an earlier round that was cut short means nothing here.
            let Some(index) = round.tickets.remove(&ticket) else { continue };
            let owed = round.growths[index].iter_mut().flat_map(|growth| &mut growth.owed);
            for entry in owed {
                if let Owed::Score { ticket: Some(own), got, .. } = entry
                    && *own == ticket
                {
                    *got = Some(score);
                    break;
                }
            }
            touched.push(index);
        }
        touched
    }

    /// Tells a strategy what has arrived, in the order of its asking, and takes up what it asks next.
    fn advance(&mut self, round: &mut Round, index: usize) -> Result<(), RolloutError> {
        let Some(growth) = &mut round.growths[index] else { return Ok(()) };
        loop {
            for mut request in growth.strategy.ask() {
                let own = request.id;
                if growth.tokenless {
                    let what = "its strategy goes on after an answer whose tokens are not known; use a server that \
                                tells token ids, and --tokenizer";
                    return Err(RolloutError::Task { task: growth.task.id.clone(), what: what.to_owned() });
                }
                request.id = round.next_request;
                round.next_request += 1;
                submit(self.engine, request, own, &growth.task)?;
                round.requests.insert(round.next_request - 1, (index, own));
                growth.owed.push_back(Owed::Completion { id: own, got: None });
            }
            for node in growth.strategy.unscored() {
                let tree = growth.strategy.tree();
                let unjudged = match tree.nodes[node].finish {
                    Some(Finish::Cancelled) => Some("the request was cancelled before its answer was complete".into()),
                    Some(Finish::Failed) => {
                        Some(growth.failures.pop_front().unwrap_or_else(|| "the request failed".to_owned()))
                    }
                    _ => None,
                };
                growth.owed.push_back(if let Some(why) = unjudged {
                    Owed::Score { node, ticket: None, got: Some(Score::failed(why)) }
                } else if self.judge.wants_groups() {
                    Owed::Score { node, ticket: None, got: None }
                } else {
                    let ticket = self.judge.submit(Arc::clone(&growth.task), tree.transcript(node));
                    round.tickets.insert(ticket, index);
                    Owed::Score { node, ticket: Some(ticket), got: None }
                });
            }
            if !growth.owed.front().is_some_and(Owed::arrived) {
                submit_group(self.judge, growth, index, &mut round.tickets);
                break;
            }
            match growth.owed.pop_front() {
                Some(Owed::Completion { got: Some(Ok(completion)), .. }) => {
                    growth.tokenless |= completion.tokens.is_empty() && completion.finish != Finish::Cancelled;
                    growth.strategy.tell(completion);
                }
                Some(Owed::Completion { id, got: Some(Err(why)) }) => {
                    growth.failures.push_back(why);
                    growth.strategy.tell(nothing(id));
                }
                Some(Owed::Score { node, got: Some(score), .. }) => growth.strategy.scored(node, score),
                _ => unreachable!("only arrived answers are taken"),
            }
        }
        if growth.owed.is_empty() && !growth.strategy.finished() {
            let what = "its strategy asks for nothing more but is not finished".to_owned();
            return Err(RolloutError::Task { task: growth.task.id.clone(), what });
        }
        Ok(())
    }

    /// Leaves engine and judge free of a round that failed.
    fn abandon(&mut self, round: &Round) {
        self.judge.clear();
        for &id in round.requests.keys() {
            self.engine.cancel(id);
        }
        // Cancelled requests come back from the next poll; an engine that broke has lost them anyway.
        let mut polls = 0;
        while self.engine.in_flight() > 0
            && polls < 16
            && matches!(self.engine.poll(), Ok(_) | Err(GenerateError::Failed { .. }))
        {
            polls += 1;
        }
    }
}

/// Submits a request; a refusal names the task.
fn submit(engine: &mut dyn Generate, request: Request, own: u64, task: &Task) -> Result<(), RolloutError> {
    let refused = |what: String| RolloutError::Task { task: task.id.clone(), what };
    engine.submit_conversation(request, &task.messages).map_err(|error| match error {
        GenerateError::TooLong { tokens, context, .. } => refused(format!(
            "its prompt has {tokens} tokens; the context holds {context}, of which at least one must be left"
        )),
        GenerateError::Invalid { what, .. } | GenerateError::Failed { what, .. } => {
            refused(format!("request {own}: {what}"))
        }
        broken @ GenerateError::Engine(_) => broken.into(),
    })
}

/// Has everything judged together that a strategy wants judged, once it waits for nothing else: the group depends on
/// what was asked for, not on what came first.
fn submit_group(judge: &mut Judge, growth: &mut Growth, index: usize, tickets: &mut HashMap<u64, usize>) {
    if growth.owed.iter().any(|owed| matches!(owed, Owed::Completion { got: None, .. })) {
        return;
    }
    let tree = growth.strategy.tree();
    let held = |owed: &&mut Owed| matches!(owed, Owed::Score { ticket: None, got: None, .. });
    let (mut transcripts, mut places) = (Vec::new(), Vec::new());
    for owed in growth.owed.iter_mut().filter(held) {
        if let Owed::Score { node, ticket, .. } = owed {
            transcripts.push(tree.transcript(*node));
            places.push(ticket);
        }
    }
    let first = judge.submit_group(Arc::clone(&growth.task), transcripts);
    for (own, place) in (first..).zip(places) {
        *place = Some(own);
        tickets.insert(own, index);
    }
}

/// What a strategy hears of a request that failed.
fn nothing(id: u64) -> Completion {
    let (tokens, logprobs, text, finish) = (Vec::new(), Vec::new(), String::new(), Finish::Failed);
    Completion { id, tokens, logprobs, text, finish, version: 0, odds: Vec::new(), prompt_odds: Vec::new() }
}

/// Gives away finished trees, in task order.
fn hand_over(round: &mut Round, each: &mut dyn FnMut(Tree)) {
    while let Some(slot) = round.growths.get_mut(round.next) {
        if !slot.as_ref().is_some_and(|growth| growth.owed.is_empty() && growth.strategy.finished()) {
            break;
        }
        if let Some(growth) = slot.take() {
            each(growth.strategy.into_tree());
        }
        round.next += 1;
    }
}
