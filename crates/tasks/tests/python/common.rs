//! A reward in Python as a recipe has it, and what comes of it.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relign_core::{Environment, Message, Reward, RewardSection, Score, Split, Task, Transcript, Verdict};
use serde_json::{Value, json};

/// What a test waits for at most.
pub(crate) const FOREVER: Duration = Duration::from_secs(60);

/// No tasks of its own.
pub(crate) struct Nothing;

impl Environment for Nothing {
    fn len(&self, _: Split) -> Option<u64> {
        Some(0)
    }

    fn task(&self, _: Split, _: u64) -> Result<Task, String> {
        Err("none".to_owned())
    }

    fn score(&self, _: &Task, _: &Transcript) -> Score {
        Score::wrong("")
    }

    fn oracle(&self, _: &Task) -> Transcript {
        Transcript::default()
    }
}

pub(crate) fn place(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(file).display().to_string()
}

/// The reward as a recipe has it.
pub(crate) fn reward_of(name: &str, settings: Value) -> Arc<dyn Reward> {
    let mut section = settings;
    section["name"] = name.into();
    let sections: Vec<RewardSection> = serde_json::from_value(json!([section])).unwrap();
    relign_tasks::rewards(&sections, Arc::new(Nothing)).unwrap()
}

pub(crate) fn reward(function: &str, settings: Value) -> Arc<dyn Reward> {
    reward_of(&format!("python:{}:{function}", place("rewards.py")), settings)
}

pub(crate) fn task() -> Task {
    Task {
        messages: vec![Message::system("s"), Message::user("u")],
        answer: "72".to_owned(),
        facts: [("level".to_owned(), "3".to_owned())].into(),
        ..Task::default()
    }
}

pub(crate) fn group(texts: &[&str]) -> Vec<Transcript> {
    let one =
        |text: &&str| Transcript { ids: Some(text.bytes().map(u32::from).collect()), ..Transcript::of(*text, true) };
    texts.iter().map(one).collect()
}

pub(crate) fn values(reward: &dyn Reward, texts: &[&str]) -> Vec<f64> {
    let scores = reward.score_group(&task(), &group(texts));
    scores
        .into_iter()
        .map(|score| {
            assert_ne!(score.verdict, Verdict::Failed, "{}", score.reason);
            score.value
        })
        .collect()
}

/// Why all of `scores` failed.
pub(crate) fn failure(scores: &[Score]) -> String {
    assert!(
        scores.iter().all(|score| score.verdict == Verdict::Failed && score.reason == scores[0].reason),
        "{scores:?}"
    );
    scores[0].reason.clone()
}

pub(crate) fn alive(pid: &str) -> bool {
    // A process that ended and was not waited for is none.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

pub(crate) fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < FOREVER, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
