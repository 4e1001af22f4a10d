//! A scripted world: a model whose every word follows from prompt and seed, letters for tokens, and rewards and values
//! that anyone can work out.
#![allow(dead_code, unreachable_pub)] // Each test file uses its part.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use relign_core::{
    Completion, Finish, Generate, GenerateError, Message, Place, Request, Reward, RolloutError, Rollouts, Sampling,
    Score, Scorer, Section, Seed, Task, Tokenize, Transcript, Tree,
};
use relign_search::{Budget, Driver, Journal, Judge, Options, StrategyFactory, Told, strategy};
use serde_json::Value;

/// Ends the model's turn.
pub const END: u32 = 0;

/// Letters are tokens; `\u{1}` opens a turn and `END` closes it.
pub struct Letters;

impl Tokenize for Letters {
    fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
        let turn = |m: &Message| std::iter::once(1).chain(letters(&m.content)).chain([END]).collect::<Vec<_>>();
        Ok(messages.iter().flat_map(turn).chain([1]).collect())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(letters(text))
    }

    fn decode(&self, tokens: &[u32]) -> String {
        tokens.iter().filter(|&&t| t > 1).filter_map(|&t| char::from_u32(t)).collect()
    }
}

pub fn letters(text: &str) -> Vec<u32> {
    text.chars().map(u32::from).collect()
}

/// Says words of a few letters, a blank line now and then, and at some point `=` with a digit and its end. How likely
/// each letter was follows from the letter. Answers in an order drawn from `order`.
pub struct Script {
    pub order: Seed,
    pub polls: u64,
    pub waiting: Vec<Request>,
    /// Every request that was taken: its prompt's length and the tokens it might use.
    pub taken: Vec<(usize, usize)>,
    pub generated: HashMap<u64, u64>,
    /// Fails every so many-th request, if not 0.
    pub failing: u64,
    /// Tells no log-probabilities, as servers may.
    pub blind: bool,
    /// The most requests at once.
    pub most: usize,
    pub cancelled: Vec<u64>,
}

impl Script {
    pub fn new(order: u64) -> Self {
        Self {
            order: Seed(order),
            polls: 0,
            waiting: Vec::new(),
            taken: Vec::new(),
            generated: HashMap::new(),
            failing: 0,
            blind: false,
            most: 0,
            cancelled: Vec::new(),
        }
    }

    fn say(&self, request: &Request) -> Completion {
        let prompt = request.prompt.iter().fold(Seed(9), |seed, &token| seed.index(u64::from(token)));
        let seed = prompt.index(request.seed.0);
        let Sampling { max_tokens, stop, stop_tokens, .. } = &request.sampling;
        let mut tokens: Vec<u32> = Vec::new();
        let mut text = String::new();
        let mut finish = Finish::Length;
        let mut script = String::new();
        let mut draw = 0;
        // Words until the answer: a line of a few letters, a blank line after some.
        loop {
            let word: String = (0..1 + seed.below(draw, 3)).map(|i| letter(seed.below(draw + 100 + i, 4))).collect();
            script += &word;
            draw += 1;
            if seed.below(draw, 4) == 0 {
                script += &format!("={}", seed.below(draw + 500, 3));
                break;
            }
            script += if seed.below(draw + 900, 2) == 0 { "\n\n" } else { " " };
        }
        for token in letters(&script).into_iter().chain([END]) {
            tokens.push(token);
            if token != END {
                text.extend(char::from_u32(token));
            }
            if token == END || stop_tokens.contains(&token) {
                finish = Finish::Stop;
                break;
            }
            if let Some(cut) = stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
                text.truncate(cut);
                finish = Finish::StopString;
                break;
            }
            if tokens.len() >= *max_tokens {
                break;
            }
        }
        let told = if self.blind { 0 } else { tokens.len() };
        let logprobs = tokens.iter().take(told).map(|&token| -((token % 5) as f32 + 1.0) / 8.0).collect();
        let certain = if request.sampling.certainty { told } else { 0 };
        let certainty = tokens.iter().take(certain).map(|&token| (token % 7) as f32 / 4.0).collect();
        let (odds, prompt_odds) = (Vec::new(), Vec::new());
        Completion { id: request.id, tokens, logprobs, text, finish, version: 0, odds, prompt_odds, certainty }
    }
}

fn letter(n: u64) -> char {
    ['a', 'b', 'c', 'd'][n as usize]
}

impl Generate for Script {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        self.taken.push((request.prompt.len(), request.sampling.max_tokens));
        self.waiting.push(request);
        self.most = self.most.max(self.waiting.len());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        for id in std::mem::take(&mut self.cancelled) {
            if let Some(at) = self.waiting.iter().position(|request| request.id == id) {
                self.waiting.remove(at);
                let (tokens, logprobs, text) = (Vec::new(), Vec::new(), String::new());
                let (odds, prompt_odds, certainty) = (Vec::new(), Vec::new(), Vec::new());
                let (version, finish) = (0, Finish::Cancelled);
                let nothing = Completion { id, tokens, logprobs, text, finish, version, odds, prompt_odds, certainty };
                return Ok(vec![nothing]);
            }
        }
        self.polls += 1;
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let pick = self.order.below(self.polls, self.waiting.len() as u64);
        let request = self.waiting.swap_remove(pick as usize);
        if self.failing > 0 && request.seed.below(77, self.failing) == 0 {
            return Err(GenerateError::Failed { id: request.id, what: "no answer".to_owned() });
        }
        let said = self.say(&request);
        // By the task, which is the first letter of the prompt after the turn's mark.
        *self.generated.entry(u64::from(request.prompt[1])).or_default() += said.tokens.len() as u64;
        Ok(vec![said])
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn cancel(&mut self, id: u64) {
        self.cancelled.push(id);
    }
}

/// Right are answers that end in `=1`.
pub struct One;

impl Reward for One {
    fn score(&self, _: &Task, transcript: &Transcript) -> Score {
        let said = transcript.last();
        match said.rsplit_once('=') {
            Some((_, "1")) => Score::correct("1"),
            Some((_, other)) => Score::wrong(other),
            None => Score::unparsed(""),
        }
    }
}

/// Values a path by its letters: the share of `a`.
pub struct ShareOfA;

impl Scorer for ShareOfA {
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        let value = |place: &Place<'_>| {
            let said = place.tree.transcript(place.node);
            let letters: Vec<char> = said.last().chars().filter(|c| c.is_alphabetic()).collect();
            if letters.is_empty() {
                return Err("nothing said".to_owned());
            }
            Ok(letters.iter().filter(|&&c| c == 'a').count() as f64 / letters.len() as f64)
        };
        nodes.iter().map(value).collect()
    }
}

/// Tries steps out: those that begin with `d` do not work.
pub struct NoD;

impl Scorer for NoD {
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        let works = |place: &Place<'_>| !place.tree.nodes[place.node].text.starts_with('d');
        nodes.iter().map(|place| Ok(f64::from(u8::from(works(place))))).collect()
    }
}

pub fn tasks(count: u32) -> Vec<Task> {
    let letter = |i: u32| char::from_u32(u32::from('A') + i).expect("few tasks").to_string();
    (0..count)
        .map(|i| Task { id: format!("t/{i}"), messages: vec![Message::user(letter(i))], ..Task::default() })
        .collect()
}

pub fn factory(name: &str, settings: Value) -> Box<dyn StrategyFactory> {
    let Value::Object(settings) = settings else { panic!("a table") };
    strategy(&Section { name: name.to_owned(), settings }).unwrap_or_else(|error| panic!("{error}"))
}

/// One round and what came of it.
pub struct Round<'a> {
    pub strategy: &'a dyn StrategyFactory,
    pub tasks: Vec<Task>,
    pub budget: Budget,
    pub seed: u64,
    pub max_tokens: usize,
    pub journal: Journal,
    /// Everything told is added here.
    pub told: Vec<(String, Told)>,
    /// The record is refused from here on, as if the process had been killed.
    pub dies_after: usize,
}

impl<'a> Round<'a> {
    pub fn of(strategy: &'a dyn StrategyFactory) -> Self {
        Self {
            strategy,
            tasks: tasks(1),
            budget: Budget::default(),
            seed: 5,
            max_tokens: 60,
            journal: Journal::new(),
            told: Vec::new(),
            dies_after: usize::MAX,
        }
    }

    pub fn run(&mut self, engine: &mut Script) -> Result<Vec<Tree>, RolloutError> {
        let mut judge = Judge::new(Arc::new(One), 2, Duration::from_secs(60)).expect("threads");
        let Self { told, dies_after, .. } = self;
        let mut record = |task: &str, what: &Told| {
            if told.len() >= *dies_after {
                return Err(std::io::Error::other("killed"));
            }
            told.push((task.to_owned(), what.clone()));
            Ok(())
        };
        let mut driver = Driver {
            engine,
            tokenizer: &Letters,
            judge: &mut judge,
            strategy: self.strategy,
            sampling: Sampling { max_tokens: self.max_tokens, ..Sampling::default() },
            seed: Seed(self.seed),
            step: 0,
            interrupt: Arc::default(),
            progress: None,
            options: Options {
                budget: self.budget,
                scorer: Some(&ShareOfA),
                checker: Some(&NoD),
                journal: std::mem::take(&mut self.journal),
                record: Some(&mut record),
                ..Options::default()
            },
        };
        let mut trees = Vec::new();
        driver.run(self.tasks.clone(), &mut |tree| trees.push(tree)).map(|()| trees)
    }
}

/// The tree in a few lines: what was said, how it ended, visits, value and verdict; the chosen leaf is marked.
pub fn drawn(tree: &Tree) -> String {
    let mut out = String::new();
    draw(tree, 0, 0, &mut out);
    out
}

fn draw(tree: &Tree, node: usize, depth: usize, out: &mut String) {
    let own = &tree.nodes[node];
    if node > 0 {
        let text = own.text.replace('\n', "/");
        let value = own.value.map(|value| format!(" v{value:.3}")).unwrap_or_default();
        let visits = if own.visits > 0 { format!(" n{}", own.visits) } else { String::new() };
        let score = own.score.as_ref().map(|score| format!(" {:?}", score.verdict)).unwrap_or_default();
        let aside = if own.aside { " aside" } else { "" };
        let chosen = if tree.chosen == Some(node) { " <-" } else { "" };
        out.push_str(&format!("{}{node} {text}{visits}{value}{score}{aside}{chosen}\n", "  ".repeat(depth - 1)));
    }
    for child in (node + 1)..tree.nodes.len() {
        if tree.nodes[child].parent == Some(node) {
            draw(tree, child, depth + 1, out);
        }
    }
}
