//! The driver against an engine that plays a script: completions that arrive in any order, rewards
//! that misbehave, rounds that are cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use relign_core::{
    Completion, Finish, Generate, GenerateError, Message, Request, Reward, RewardNeeds, RolloutError, Rollouts,
    Sampling, Score, Section, Seed, Task, Tokenize, Transcript, Tree, Verdict,
};
use relign_search::{Driver, Judge, Options, Progress, StrategyFactory, strategy};

/// Finishes requests in an order drawn from `order`; what it says depends on a request's prompt and
/// seed alone.
struct Script {
    order: Seed,
    polls: u64,
    waiting: Vec<Request>,
    cancelled: Vec<u64>,
    context: usize,
}

impl Script {
    fn new(order: u64) -> Self {
        Self { order: Seed(order), polls: 0, waiting: Vec::new(), cancelled: Vec::new(), context: 1000 }
    }
}

impl Generate for Script {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        if request.prompt.len() >= self.context {
            return Err(GenerateError::TooLong { id: request.id, tokens: request.prompt.len(), context: self.context });
        }
        assert!(self.waiting.iter().all(|other| other.id != request.id), "request {} is in flight twice", request.id);
        self.waiting.push(request);
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        let mut out: Vec<Completion> = Vec::new();
        for id in std::mem::take(&mut self.cancelled) {
            self.waiting.retain(|request| request.id != id);
            out.push(say(id, String::new(), Finish::Cancelled));
        }
        self.polls += 1;
        for draw in 0..self.order.below(self.polls, 4) {
            if self.waiting.is_empty() {
                break;
            }
            let pick = self.order.index(self.polls).below(draw, self.waiting.len() as u64);
            let request = self.waiting.swap_remove(pick as usize);
            let text = format!("{}:{}", request.prompt[0], request.seed.below(0, 1000));
            out.push(say(request.id, text, Finish::Stop));
        }
        Ok(out)
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn cancel(&mut self, id: u64) {
        self.cancelled.push(id);
    }
}

fn say(id: u64, text: String, finish: Finish) -> Completion {
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let (logprobs, odds, prompt_odds, certainty) = (vec![-1.0; tokens.len()], Vec::new(), Vec::new(), Vec::new());
    Completion { id, logprobs, tokens, text, finish, version: 3, odds, prompt_odds, certainty }
}

/// A prompt is the number in the user's message, repeated as often as it says.
struct Numbers;

impl Tokenize for Numbers {
    fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
        let number: u32 = messages[0].content.parse().map_err(|_| "expected a number".to_owned())?;
        Ok(vec![number; number as usize + 1])
    }

    fn decode(&self, tokens: &[u32]) -> String {
        format!("{tokens:?}")
    }
}

struct Judged<F>(F);

impl<F: Fn(&Task, &Transcript) -> Score + Send + Sync> Reward for Judged<F> {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        (self.0)(task, transcript)
    }
}

fn judge(limit: Duration, reward: impl Fn(&Task, &Transcript) -> Score + Send + Sync + 'static) -> Judge {
    Judge::new(Arc::new(Judged(reward)), 2, limit).expect("threads")
}

fn last_digit(_: &Task, transcript: &Transcript) -> Score {
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

fn run(engine: &mut Script, judge: &mut Judge, tasks: Vec<Task>, n: usize) -> Result<Vec<Tree>, RolloutError> {
    let mut trees = Vec::new();
    let factory = samples(n);
    let mut driver = Driver {
        engine,
        tokenizer: &Numbers,
        judge,
        strategy: &*factory,
        sampling: Sampling::default(),
        seed: Seed(5),
        step: 7,
        interrupt: Arc::new(AtomicBool::new(false)),
        progress: None,
        options: Options::default(),
    };
    driver.run(tasks, &mut |tree| trees.push(tree)).map(|()| trees)
}

const AMPLE: Duration = Duration::from_secs(60);

#[test]
fn the_order_of_arrival_changes_nothing() {
    let mut judge = judge(AMPLE, last_digit);
    let first = run(&mut Script::new(0), &mut judge, tasks(9), 5).unwrap();
    for order in 1..20 {
        assert_eq!(run(&mut Script::new(order), &mut judge, tasks(9), 5).unwrap(), first);
    }
    for tree in &first {
        assert_eq!(tree.nodes.len(), 6);
        assert_eq!(tree.step, 7);
        for (k, node) in tree.nodes.iter().enumerate().skip(1) {
            let seed = Seed(5).child(&tree.task.id).index(k as u64 - 1);
            assert_eq!(node.text, format!("{}:{}", tree.nodes[0].tokens[0], seed.below(0, 1000)));
            assert_eq!(node.score, Some(last_digit(&tree.task, &tree.transcript(k))));
            assert_eq!((node.parent, node.version, node.finish), (Some(0), 3, Some(Finish::Stop)));
        }
    }
}

#[test]
fn a_task_is_sampled_alike_whatever_else_is_run() {
    let mut judge = judge(AMPLE, last_digit);
    let many = run(&mut Script::new(1), &mut judge, tasks(6), 4).unwrap();
    let alone = run(&mut Script::new(2), &mut judge, vec![tasks(6).remove(3)], 4).unwrap();
    assert_eq!(many[3], alone[0]);
}

/// Counts the tasks that have requests in flight; those of `Numbers` begin with the task's number.
struct Counting(Script, usize);

impl Generate for Counting {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        self.0.submit(request)?;
        let tasks: std::collections::HashSet<u32> = self.0.waiting.iter().map(|request| request.prompt[0]).collect();
        self.1 = self.1.max(tasks.len());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        self.0.poll()
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn cancel(&mut self, id: u64) {
        self.0.cancel(id);
    }
}

#[test]
fn a_few_tasks_at_once_grow_the_same_trees_as_all() {
    let mut judge = judge(AMPLE, last_digit);
    let all = run(&mut Script::new(1), &mut judge, tasks(9), 4).unwrap();
    let factory = samples(4);
    for at_once in [1, 2, 5] {
        let mut engine = Counting(Script::new(at_once as u64), 0);
        let mut trees = Vec::new();
        let mut driver = Driver {
            engine: &mut engine,
            tokenizer: &Numbers,
            judge: &mut judge,
            strategy: &*factory,
            sampling: Sampling::default(),
            seed: Seed(5),
            step: 7,
            interrupt: Arc::new(AtomicBool::new(false)),
            progress: None,
            options: Options { at_once, ..Options::default() },
        };
        driver.run(tasks(9), &mut |tree| trees.push(tree)).unwrap();
        assert_eq!((trees, engine.1), (all.clone(), at_once));
    }
}

#[test]
fn a_reward_that_misbehaves_fails_its_own_sample_alone() {
    let mut judge = judge(Duration::from_secs(1), |task, transcript| match task.id.as_str() {
        "t/1" => panic!("boom"),
        "t/2" => {
            std::thread::sleep(Duration::from_secs(3600));
            Score::correct("")
        }
        "t/3" => Score { value: f64::NAN, ..Score::correct("") },
        "t/4" => Score { parts: [("style".to_owned(), f64::INFINITY)].into(), ..Score::correct("") },
        _ => last_digit(task, transcript),
    });
    let started = Instant::now();
    let trees = run(&mut Script::new(1), &mut judge, tasks(7), 3).unwrap();
    for (i, tree) in trees.iter().enumerate() {
        for node in &tree.nodes[1..] {
            let score = node.score.as_ref().unwrap();
            let why = match i {
                1 => "driver.rs",
                2 => "longer than its limit of 1s",
                3 => "finite value, got NaN",
                4 => "reward `style`: expected a finite value, got inf",
                _ => {
                    assert_ne!(score.verdict, Verdict::Failed, "{}", score.reason);
                    continue;
                }
            };
            assert_eq!(score.verdict, Verdict::Failed);
            assert!(score.reason.contains(why), "{}", score.reason);
            assert!(i != 1 || score.reason.ends_with(": boom"), "{}", score.reason);
        }
    }
    // The judge goes on, with threads in place of those still asleep.
    run(&mut Script::new(1), &mut judge, tasks(1), 8).unwrap();
    drop(judge);
    assert!(started.elapsed() < Duration::from_secs(600), "a stuck reward held up the run or its end");
}

/// Ranks the answers to a task: only right if it sees them together.
struct Ranked {
    seen: std::sync::Mutex<Vec<usize>>,
}

impl Reward for Ranked {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        self.score_group(task, std::slice::from_ref(transcript)).remove(0)
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        self.seen.lock().expect("a lock").push(group.len());
        if task.id.ends_with('2') {
            return vec![Score::correct("one too few"); group.len() - 1];
        }
        let rank = |text: &str| group.iter().filter(|other| other.last() < text).count() as f64;
        group.iter().map(|t| Score { value: rank(t.last()), ..Score::correct("") }).collect()
    }

    fn needs(&self) -> RewardNeeds {
        RewardNeeds { group: true, at_once: 3, ..RewardNeeds::default() }
    }
}

#[test]
fn a_reward_that_compares_gets_the_answers_to_a_task_together() {
    let run = |order| {
        let reward = Arc::new(Ranked { seen: std::sync::Mutex::default() });
        let shared: Arc<dyn Reward> = reward.clone();
        let mut judge = Judge::new(shared, 1, AMPLE).unwrap();
        let trees = run(&mut Script::new(order), &mut judge, tasks(4), 5).unwrap();
        assert_eq!(*reward.seen.lock().unwrap(), [5; 4]);
        trees
    };
    let trees = run(1);
    assert_eq!(trees, run(2));
    for (index, tree) in trees.iter().enumerate() {
        let scores = tree.nodes[1..].iter().map(|node| node.score.as_ref().unwrap());
        if index == 2 {
            let why = "the reward: expected 5 scores, one for each answer, got 4";
            assert!(scores.clone().all(|score| score.verdict == Verdict::Failed && score.reason == why));
            continue;
        }
        for node in &tree.nodes[1..] {
            let below = tree.nodes[1..].iter().filter(|other| other.text < node.text).count();
            assert_eq!(node.score.as_ref().unwrap().value, below as f64);
        }
    }
}

#[test]
fn what_a_reward_waits_for_others_is_no_overrun_and_a_group_has_the_time_of_all() {
    struct Waits(Duration);
    impl Reward for Waits {
        fn score(&self, _: &Task, _: &Transcript) -> Score {
            std::thread::sleep(Duration::from_millis(120));
            Score::correct("")
        }

        fn needs(&self) -> RewardNeeds {
            RewardNeeds { group: true, at_once: 0, waits: self.0 }
        }
    }
    for (waits, verdict) in [(Duration::from_secs(60), Verdict::Correct), (Duration::ZERO, Verdict::Failed)] {
        let mut judge = Judge::new(Arc::new(Waits(waits)), 1, Duration::from_millis(30)).unwrap();
        let trees = run(&mut Script::new(1), &mut judge, tasks(1), 2).unwrap();
        let scores = trees[0].nodes[1..].iter().map(|node| node.score.as_ref().unwrap());
        for score in scores {
            assert_eq!(score.verdict, verdict);
            assert!(verdict == Verdict::Correct || score.reason.contains("longer than its limit of 60ms"), "{score:?}");
        }
    }
}

#[test]
fn rewards_that_are_all_stuck_end_in_failures_not_in_threads_without_end() {
    let mut judge = judge(Duration::from_millis(10), |_, _| {
        loop {
            std::thread::park();
        }
    });
    let trees = run(&mut Script::new(1), &mut judge, tasks(10), 10).unwrap();
    let scores = trees.iter().flat_map(|tree| &tree.nodes[1..]).map(|node| node.score.clone().unwrap());
    let (mut overran, mut untried) = (0, 0);
    for score in scores {
        assert_eq!(score.verdict, Verdict::Failed);
        if score.reason.contains("longer than") { overran += 1 } else { untried += 1 }
    }
    assert_eq!(overran + untried, 100);
    assert!((64..=66).contains(&overran), "{overran} were tried");
}

#[test]
fn a_prompt_beyond_the_context_names_its_task_and_leaves_the_engine_free() {
    let mut engine = Script { context: 4, ..Script::new(1) };
    let mut judge = judge(AMPLE, last_digit);
    let error = run(&mut engine, &mut judge, tasks(6), 2).unwrap_err();
    assert!(matches!(&error, RolloutError::Task { task, .. } if task == "t/3"), "{error}");
    assert!(error.to_string().contains("4 tokens; the context holds 4"), "{error}");
    assert_eq!(engine.in_flight(), 0);
    assert_eq!(run(&mut engine, &mut judge, tasks(2), 2).unwrap().len(), 2);
}

#[test]
fn a_task_that_cannot_be_rendered_is_named_before_anything_is_spent() {
    let mut engine = Script::new(1);
    let mut all = tasks(3);
    all[2].messages[0].content = "three".to_owned();
    let error = run(&mut engine, &mut judge(AMPLE, last_digit), all, 2).unwrap_err();
    assert_eq!(error.to_string(), "task t/2: expected a number");
    assert_eq!(engine.polls, 0);
}

#[test]
fn an_interrupt_ends_the_round_even_while_a_reward_is_stuck() {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let mut judge = judge(AMPLE, move |_, _| {
        flag.store(true, Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    });
    let factory = samples(4);
    let mut engine = Script::new(1);
    let mut driver = Driver {
        engine: &mut engine,
        tokenizer: &Numbers,
        judge: &mut judge,
        strategy: &*factory,
        sampling: Sampling::default(),
        seed: Seed(1),
        step: 0,
        interrupt,
        progress: None,
        options: Options::default(),
    };
    let error = driver.run(tasks(50), &mut |_| ()).unwrap_err();
    assert!(matches!(error, RolloutError::Interrupted));
    assert_eq!(engine.in_flight(), 0);
}

/// An engine keeps what waits in a queue: cancelled from its front, many requests take a pass over it; in any other order each
/// takes one of its own, and a round of some hundred thousand does not end for minutes.
#[test]
fn an_interrupted_round_cancels_its_requests_in_the_order_of_their_asking() {
    struct Queue {
        waiting: Vec<u64>,
        cancelled: Vec<u64>,
        interrupt: Arc<AtomicBool>,
    }
    impl Generate for Queue {
        fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
            self.waiting.push(request.id);
            Ok(())
        }
        fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
            self.interrupt.store(true, Ordering::Relaxed);
            Ok(Vec::new())
        }
        fn in_flight(&self) -> usize {
            self.waiting.len() - self.cancelled.len()
        }
        fn cancel(&mut self, id: u64) {
            self.cancelled.push(id);
        }
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    let mut engine = Queue { waiting: Vec::new(), cancelled: Vec::new(), interrupt: Arc::clone(&interrupt) };
    let factory = samples(500);
    let mut driver = Driver {
        engine: &mut engine,
        tokenizer: &Numbers,
        judge: &mut judge(AMPLE, last_digit),
        strategy: &*factory,
        sampling: Sampling::default(),
        seed: Seed(1),
        step: 0,
        interrupt,
        progress: None,
        options: Options::default(),
    };
    let error = driver.run(tasks(4), &mut |_| ()).unwrap_err();
    assert!(matches!(error, RolloutError::Interrupted));
    assert_eq!(engine.waiting.len(), 2000);
    assert_eq!(engine.cancelled, engine.waiting);
}

/// A strategy that is told at once whatever it asks for never gives the driver a pause.
#[test]
fn an_interrupt_ends_a_round_before_anything_more_is_asked() {
    let factory = samples(4);
    let mut engine = Script::new(1);
    let mut driver = Driver {
        engine: &mut engine,
        tokenizer: &Numbers,
        judge: &mut judge(AMPLE, last_digit),
        strategy: &*factory,
        sampling: Sampling::default(),
        seed: Seed(1),
        step: 0,
        interrupt: Arc::new(AtomicBool::new(true)),
        progress: None,
        options: Options::default(),
    };
    let error = driver.run(tasks(3), &mut |_| ()).unwrap_err();
    assert!(matches!(error, RolloutError::Interrupted));
    assert_eq!(engine.polls, 0, "something was asked");
}

#[test]
fn an_engine_that_loses_a_request_is_an_error() {
    struct Loses;
    impl Generate for Loses {
        fn submit(&mut self, _: Request) -> Result<(), GenerateError> {
            Ok(())
        }
        fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
            Ok(Vec::new())
        }
        fn in_flight(&self) -> usize {
            0
        }
        fn cancel(&mut self, _: u64) {}
    }
    let factory = samples(1);
    let mut driver = Driver {
        engine: &mut Loses,
        tokenizer: &Numbers,
        judge: &mut judge(AMPLE, last_digit),
        strategy: &*factory,
        sampling: Sampling::default(),
        seed: Seed(1),
        step: 0,
        interrupt: Arc::default(),
        progress: None,
        options: Options::default(),
    };
    let error = driver.run(tasks(2), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("expected 2 more completions"), "{error}");
}

#[test]
fn settings_are_checked() {
    let section = |json: serde_json::Value| serde_json::from_value::<Section>(json).unwrap();
    let error = |json| strategy(&section(json)).err().unwrap().to_string();
    assert!(error(serde_json::json!({"name": "sampel"})).contains("expected one of: "));
    assert!(error(serde_json::json!({"name": "sample", "n": 0})).starts_with("strategy.n: "));
    assert!(error(serde_json::json!({"name": "sample", "m": 4})).contains("unknown key `m`"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_task_comes_back_once_and_in_order(order: u64, count in 0..12_usize, n in 1..6_usize) {
        let mut judge = judge(AMPLE, last_digit);
        let factory = samples(n);
        let mut seen = Vec::new();
        let mut last = Progress::default();
        let mut driver = Driver {
            engine: &mut Script::new(order),
            tokenizer: &Numbers,
            judge: &mut judge,
            strategy: &*factory,
            sampling: Sampling::default(),
            seed: Seed(order),
            step: 0,
            interrupt: Arc::default(),
            progress: Some(&mut |now| {
                assert!(now.done > last.done && now.done <= now.total && now.tokens > last.tokens);
                last = now;
            }),
            options: Options::default(),
        };
        driver.run(tasks(count), &mut |tree| seen.push(tree)).unwrap();
        prop_assert_eq!(last.done, count * n);
        prop_assert_eq!(seen.len(), count);
        for (tree, task) in seen.iter().zip(tasks(count)) {
            prop_assert_eq!(&tree.task, &task);
            prop_assert_eq!(tree.nodes.len(), n + 1);
            prop_assert!(tree.nodes[1..].iter().all(|node| node.score.is_some()));
        }
    }
}
