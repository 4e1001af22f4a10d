//! The driver over a server that renders conversations itself, tells no tokens, and fails now and then.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use relign_core::{
    Completion, Finish, Generate, GenerateError, Message, NodeId, Request, Reward, RolloutError, Rollouts, Sampling,
    Score, Section, Seed, Strategy, Task, Tokenize, Transcript, Tree, Verdict,
};
use relign_search::{Driver, Judge, Options, Start, StrategyFactory, strategy};

struct LastDigit;

impl Reward for LastDigit {
    fn score(&self, _: &Task, transcript: &Transcript) -> Score {
        last_digit(transcript)
    }
}

fn last_digit(transcript: &Transcript) -> Score {
    match transcript.last().ends_with(['0', '2', '4', '6', '8']) {
        true => Score::correct(transcript.last()),
        false => Score::wrong(transcript.last()),
    }
}

fn tasks(count: usize) -> Vec<Task> {
    let task =
        |i: usize| Task { id: format!("t/{i}"), messages: vec![Message::user(i.to_string())], ..Task::default() };
    (0..count).map(task).collect()
}

fn samples(n: usize) -> Box<dyn StrategyFactory> {
    let settings = [("n".to_owned(), n.into())].into_iter().collect();
    strategy(&Section { name: "sample".to_owned(), settings }).expect("valid settings")
}

/// Fails the requests whose seed draws so.
struct Blind {
    waiting: Vec<(Request, String)>,
}

impl Blind {
    fn fails(seed: Seed) -> bool {
        seed.below(1, 3) == 0
    }
}

impl Generate for Blind {
    fn submit(&mut self, _: Request) -> Result<(), GenerateError> {
        panic!("it takes conversations");
    }

    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        assert!(request.prompt.is_empty());
        self.waiting.push((request, messages[0].content.clone()));
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        let Some((request, said)) = self.waiting.pop() else { return Ok(Vec::new()) };
        if Self::fails(request.seed) {
            return Err(GenerateError::Failed { id: request.id, what: format!("no answer to {said}") });
        }
        let text = format!("{said}:{}", request.seed.below(0, 1000));
        let (tokens, logprobs, finish) = (Vec::new(), Vec::new(), Finish::Stop);
        let (odds, prompt_odds, certainty) = (Vec::new(), Vec::new(), Vec::new());
        let (id, version) = (request.id, 0);
        Ok(vec![Completion { id, tokens, logprobs, text, finish, version, odds, prompt_odds, certainty }])
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn cancel(&mut self, id: u64) {
        self.waiting.retain(|(request, _)| request.id != id);
    }
}

struct Unrendered;

impl Tokenize for Unrendered {
    fn render(&self, _: &[Message]) -> Result<Vec<u32>, String> {
        Ok(Vec::new())
    }

    fn decode(&self, _: &[u32]) -> String {
        String::new()
    }
}

fn run_blind(strategy: &dyn StrategyFactory) -> Result<Vec<Tree>, RolloutError> {
    let mut trees = Vec::new();
    let mut driver = Driver {
        engine: &mut Blind { waiting: Vec::new() },
        tokenizer: &Unrendered,
        judge: &mut Judge::new(Arc::new(LastDigit), 2, Duration::from_secs(60)).expect("threads"),
        strategy,
        sampling: Sampling::default(),
        seed: Seed(5),
        step: 0,
        interrupt: Arc::new(AtomicBool::new(false)),
        progress: None,
        options: Options::default(),
    };
    driver.run(tasks(6), &mut |tree| trees.push(tree)).map(|()| trees)
}

#[test]
fn a_request_that_fails_is_a_sample_that_nobody_judged() {
    let trees = run_blind(&*samples(4)).unwrap();
    let mut failures = 0;
    for (i, tree) in trees.iter().enumerate() {
        for (k, node) in tree.nodes.iter().enumerate().skip(1) {
            let seed = Seed(5).child(&tree.task.id).index(k as u64 - 1);
            let score = node.score.as_ref().unwrap();
            assert!(node.tokens.is_empty() && node.logprobs.is_empty());
            if Blind::fails(seed) {
                failures += 1;
                assert_eq!((score.verdict, node.finish), (Verdict::Failed, Some(Finish::Failed)));
                assert_eq!(score.reason, format!("no answer to {i}"));
            } else {
                assert_eq!(node.text, format!("{i}:{}", seed.below(0, 1000)));
                assert_eq!(node.score, Some(last_digit(&tree.transcript(k))));
            }
        }
    }
    assert!((1..24).contains(&failures), "{failures} of 24");
}

/// Asks once more from the end of its first answer.
struct Again<'a> {
    inner: Box<dyn Strategy + 'a>,
    sampling: Sampling,
    told: bool,
    asked: bool,
}

impl Strategy for Again<'_> {
    fn ask(&mut self) -> Vec<Request> {
        if self.told && !std::mem::replace(&mut self.asked, true) {
            let prompt = self.inner.tree().tokens(1);
            return vec![Request { id: 9, prompt, sampling: self.sampling.clone(), seed: Seed(1) }];
        }
        self.inner.ask()
    }

    fn tell(&mut self, completion: Completion) {
        self.told = true;
        self.inner.tell(completion);
    }

    fn unscored(&mut self) -> Vec<NodeId> {
        self.inner.unscored()
    }

    fn scored(&mut self, node: NodeId, score: Score) {
        self.inner.scored(node, score);
    }

    fn finished(&self) -> bool {
        self.inner.finished()
    }

    fn tree(&self) -> &Tree {
        self.inner.tree()
    }

    fn into_tree(self: Box<Self>) -> Tree {
        self.inner.into_tree()
    }
}

struct Twice;

impl StrategyFactory for Twice {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let sampling = start.sampling.clone();
        Ok(Box::new(Again { inner: samples(2).start(start)?, sampling, told: false, asked: false }))
    }

    fn samples(&self) -> usize {
        2
    }
}

#[test]
fn nothing_goes_on_after_an_answer_whose_tokens_are_unknown() {
    let error = run_blind(&Twice).unwrap_err().to_string();
    assert!(error.contains("task t/") && error.contains("tokens are not known"), "{error}");
}
