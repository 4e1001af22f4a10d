//! Many strategies on one engine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use relign_core::{
    Answers, By, Completion, Finish, Generate, GenerateError, NodeId, Place, Request, RolloutError, Rollouts, Sampling,
    Score, Scorer, Seed, Strategy, Task, Tokenize, Tree,
};

use crate::journal::{Journal, Told, valued_by};
use crate::{Budget, Judge, LastLine, Start, StrategyFactory};

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
    /// Final answers and which of them are the same.
    pub answers: &'a dyn Answers,
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
        Self { budget, limit: None, answers: &LastLine, scorer: None, checker: None, journal, record: None }
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

/// A strategy at work.
struct Growth<'a> {
    task: Arc<Task>,
    strategy: Box<dyn Strategy + 'a>,
    /// What it is told again.
    recorded: VecDeque<Told>,
    /// How much of that it is still to be told, which needs no record.
    known: usize,
    /// What was asked for and not told yet, in the order of asking.
    owed: VecDeque<Owed>,
    /// Why requests failed, in the order in which the strategy heard of it.
    failures: VecDeque<String>,
    /// Whether a completion came without its tokens, so that nothing can go on from it.
    tokenless: bool,
}

impl Growth<'_> {
    /// What was recorded of what is asked for next, if anything.
    fn again(&mut self, asked: (&'static str, u64)) -> Result<Option<Told>, RolloutError> {
        match self.recorded.pop_front() {
            Some(told) if told.about() == asked => {
                self.known += 1;
                Ok(Some(told))
            }
            Some(told) => {
                let ((what, number), (other, got)) = (asked, told.about());
                Err(self.fault(format!(
                    "its journal: expected {what} {number} next, got {other} {got}; it is another search's"
                )))
            }
            None => Ok(None),
        }
    }

    fn tell(&mut self, told: Told) {
        match told {
            Told::Completion(completion) => {
                self.tokenless |= completion.tokens.is_empty() && completion.finish != Finish::Cancelled;
                self.strategy.tell(completion);
            }
            Told::Failed { id, why } => {
                self.failures.push_back(why);
                self.strategy.tell(nothing(id));
            }
            Told::Score { node, score } => self.strategy.scored(node, score),
            Told::Value { node, by, value } => self.strategy.valued(node, by, value),
        }
    }

    fn fault(&self, what: String) -> RolloutError {
        RolloutError::Task { task: self.task.id.clone(), what }
    }
}

/// An answer that a strategy waits for.
enum Owed {
    Completion { id: u64, got: Option<Result<Completion, String>> },
    Score { node: NodeId, ticket: Option<u64>, got: Option<Score> },
    Value { node: NodeId, by: By, got: Option<Result<f64, String>> },
}

impl Owed {
    fn arrived(&self) -> bool {
        match self {
            Self::Completion { got, .. } => got.is_some(),
            Self::Score { got, .. } => got.is_some(),
            Self::Value { got, .. } => got.is_some(),
        }
    }
}

/// The state of one round.
struct Round<'a> {
    /// By task; `None` once handed over.
    growths: Vec<Option<Growth<'a>>>,
    /// The first task whose tree has not been handed over.
    next: usize,
    /// The task of each request in flight and the strategy's own number for it.
    requests: HashMap<u64, (usize, u64)>,
    next_request: u64,
    /// The task of each transcript being judged.
    tickets: HashMap<u64, usize>,
    /// Nodes to be valued, with their tasks.
    unvalued: Vec<(usize, NodeId, By)>,
    /// When all must end.
    end: Option<Instant>,
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

impl<'a> Driver<'a> {
    /// Renders every task, so that one which cannot be a prompt is found before anything is spent.
    fn prepare(&mut self, tasks: Vec<Task>) -> Result<Round<'a>, RolloutError> {
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
            growths,
            next: 0,
            requests: HashMap::new(),
            next_request: 0,
            tickets: HashMap::new(),
            unvalued: Vec::new(),
            end: self.options.limit.and_then(|limit| Instant::now().checked_add(limit)),
            progress: Progress { total, ..Progress::default() },
        })
    }

    fn round(&mut self, round: &mut Round<'a>, each: &mut dyn FnMut(Tree)) -> Result<(), RolloutError> {
        for index in 0..round.growths.len() {
            self.advance(round, index)?;
        }
        hand_over(round, each);
        while round.next < round.growths.len() {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(RolloutError::Interrupted);
            }
            let mut touched = self.completions(round)?;
            touched.extend(self.values(round));
            // The engine's work leaves no time to wait; without any, scores are all there is.
            let patience = if round.requests.is_empty() && touched.is_empty() { PATIENCE } else { Duration::ZERO };
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
            hand_over(round, each);
        }
        Ok(())
    }

    /// Polls the engine; the tasks that something came back for.
    fn completions(&mut self, round: &mut Round<'a>) -> Result<Vec<usize>, RolloutError> {
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
    fn scores(&mut self, round: &mut Round<'a>, patience: Duration) -> Vec<usize> {
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

    /// Has all nodes valued that wait for it; the tasks that something came back for.
    fn values(&mut self, round: &mut Round<'a>) -> Vec<usize> {
        let wanted = std::mem::take(&mut round.unvalued);
        for (by, scorer) in [(By::Scorer, self.options.scorer), (By::Checker, self.options.checker)] {
            let nodes = || wanted.iter().filter(|(_, _, own)| *own == by);
            let place = |&(index, node, _): &(usize, NodeId, By)| {
                round.growths[index].as_ref().map(|g| Place { task: &g.task, tree: g.strategy.tree(), node })
            };
            let places: Vec<Place<'_>> = nodes().filter_map(place).collect();
            let count = places.len();
            // Strategies do not start without what they ask for.
            let (Some(scorer), 1..) = (scorer, count) else { continue };
            let mut values = scorer.values(&places);
            if values.len() != count {
                let what = format!("scorer: expected {count} values for as many nodes, got {}", values.len());
                values = vec![Err(what); count];
            }
            for (&(index, wanted, _), value) in nodes().zip(values) {
                let owed = round.growths[index].iter_mut().flat_map(|growth| &mut growth.owed);
                for entry in owed {
                    if let Owed::Value { node, by: own, got } = entry
                        && (*node, *own) == (wanted, by)
                        && got.is_none()
                    {
                        *got = Some(value);
                        break;
                    }
                }
            }
        }
        wanted.into_iter().map(|(index, _, _)| index).collect()
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
                stopped.push(index);
            }
        }
        stopped
    }

    /// Tells a strategy what has arrived, in the order of its asking, and takes up what it asks next.
    fn advance(&mut self, round: &mut Round<'a>, index: usize) -> Result<(), RolloutError> {
        let Some(growth) = &mut round.growths[index] else { return Ok(()) };
        loop {
            for mut request in growth.strategy.ask() {
                let own = request.id;
                if growth.tokenless {
                    let what = "its strategy goes on after an answer whose tokens are not known; use a server that \
                                tells token ids, and --tokenizer";
                    return Err(RolloutError::Task { task: growth.task.id.clone(), what: what.to_owned() });
                }
                if let Some(told) = growth.again(("request", own))? {
                    let got = match told {
                        Told::Completion(completion) => Ok(completion),
                        Told::Failed { why, .. } => Err(why),
                        Told::Score { .. } | Told::Value { .. } => unreachable!("it is about a request"),
                    };
                    round.progress.done += 1;
                    round.progress.tokens += got.as_ref().map_or(0, |completion| completion.tokens.len() as u64);
                    growth.owed.push_back(Owed::Completion { id: own, got: Some(got) });
                    continue;
                }
                request.id = round.next_request;
                round.next_request += 1;
                submit(self.engine, request, own, &growth.task)?;
                round.requests.insert(round.next_request - 1, (index, own));
                growth.owed.push_back(Owed::Completion { id: own, got: None });
            }
            for (node, by) in growth.strategy.unvalued() {
                let got = match growth.again((valued_by(by), node as u64))? {
                    Some(Told::Value { value, .. }) => Some(value),
                    _ => None,
                };
                if got.is_none() {
                    round.unvalued.push((index, node, by));
                }
                growth.owed.push_back(Owed::Value { node, by, got });
            }
            for node in growth.strategy.unscored() {
                if let Some(Told::Score { score, .. }) = growth.again(("score of node", node as u64))? {
                    growth.owed.push_back(Owed::Score { node, ticket: None, got: Some(score) });
                    continue;
                }
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
            let told = match growth.owed.pop_front() {
                Some(Owed::Completion { got: Some(Ok(completion)), .. }) => Told::Completion(completion),
                Some(Owed::Completion { id, got: Some(Err(why)) }) => Told::Failed { id, why },
                Some(Owed::Score { node, got: Some(score), .. }) => Told::Score { node, score },
                Some(Owed::Value { node, by, got: Some(value) }) => Told::Value { node, by, value },
                _ => unreachable!("only arrived answers are taken"),
            };
            if growth.known > 0 {
                growth.known -= 1;
            } else if let Some(record) = &mut self.options.record {
                let broke = |error: std::io::Error| growth.fault(format!("its journal: {error}"));
                record(&growth.task.id, &told).map_err(broke)?;
            }
            growth.tell(told);
            if let Some(what) = growth.strategy.fault() {
                return Err(growth.fault(what));
            }
        }
        if growth.owed.is_empty() && !growth.strategy.finished() {
            let what = "its strategy asks for nothing more but is not finished".to_owned();
            return Err(RolloutError::Task { task: growth.task.id.clone(), what });
        }
        Ok(())
    }

    /// Leaves engine and judge free of a round that failed.
    fn abandon(&mut self, round: &Round<'a>) {
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
    let (odds, prompt_odds, certainty) = (Vec::new(), Vec::new(), Vec::new());
    Completion { id, tokens, logprobs, text, finish, version: 0, odds, prompt_odds, certainty }
}

/// Gives away finished trees, in task order.
fn hand_over(round: &mut Round<'_>, each: &mut dyn FnMut(Tree)) {
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
