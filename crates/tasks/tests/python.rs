//! Reward functions in Python: what they are given, and what becomes of those that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relign_core::{Environment, Message, Reward, RewardSection, Score, Split, Task, Transcript, Verdict};
use serde_json::{Value, json};

/// What a test waits for at most.
const FOREVER: Duration = Duration::from_secs(60);

/// No tasks of its own.
struct Nothing;

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

fn place(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(file).display().to_string()
}

/// The reward as a recipe has it.
fn reward_of(name: &str, settings: Value) -> Arc<dyn Reward> {
    let mut section = settings;
    section["name"] = name.into();
    let sections: Vec<RewardSection> = serde_json::from_value(json!([section])).unwrap();
    relign_tasks::rewards(&sections, Arc::new(Nothing)).unwrap()
}

fn reward(function: &str, settings: Value) -> Arc<dyn Reward> {
    reward_of(&format!("python:{}:{function}", place("rewards.py")), settings)
}

fn task() -> Task {
    Task {
        messages: vec![Message::system("s"), Message::user("u")],
        answer: "72".to_owned(),
        facts: [("level".to_owned(), "3".to_owned())].into(),
        ..Task::default()
    }
}

fn group(texts: &[&str]) -> Vec<Transcript> {
    let one = |text: &&str| Transcript { tokens: text.bytes().map(u32::from).collect(), ..Transcript::of(*text, true) };
    texts.iter().map(one).collect()
}

fn values(reward: &dyn Reward, texts: &[&str]) -> Vec<f64> {
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
fn failure(scores: &[Score]) -> String {
    assert!(
        scores.iter().all(|score| score.verdict == Verdict::Failed && score.reason == scores[0].reason),
        "{scores:?}"
    );
    scores[0].reason.clone()
}

fn alive(pid: &str) -> bool {
    // A process that ended and was not waited for is none.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < FOREVER, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn functions_get_what_trl_gives_them() {
    assert_eq!(values(&*reward("length", json!({})), &["four", "", "\u{e9}t\u{e9} \u{1f600}"]), [4.0, 0.0, 5.0]);
    assert_eq!(values(&*reward("text", json!({"format": "text"})), &["abcd", "ab"]), [1.0, 0.5]);
    assert_eq!(values(&*reward("columns", json!({})), &["a", "bc"]), [97.0, 197.0]);
    assert_eq!(values(&*reward("rank", json!({})), &["aaa", "a", "aa"]), [1.0, 0.0, 0.5]);
    // One at a time there is nothing to compare with.
    assert_eq!(values(&*reward("rank", json!({"group": false})), &["aaa", "a", "aa"]), [0.0; 3]);
    assert_eq!(values(&*reward("later", json!({})), &["a", "b"]), [0.25; 2]);
    assert_eq!(values(&*reward("word", json!({})), &["yes", "no"]), [1.0, 0.0]);
    assert_eq!(values(&*reward("array", json!({})), &["yes", "no"]), [1.0, 2.0]);
    let made = reward("scaled", json!({"arguments": {"factor": 2, "offset": 0.5}}));
    assert_eq!(values(&*made, &["a", "bb"]), [2.5, 4.5]);
    assert_eq!(made.score(&task(), &group(&["abc"])[0]).value, 6.5);
}

#[test]
fn none_masks_one_and_the_threshold_decides_what_is_correct() {
    let some = reward("some", json!({}));
    let scores = some.score_group(&task(), &group(&["a", "skip", "b"]));
    let verdicts: Vec<Verdict> = scores.iter().map(|score| score.verdict).collect();
    assert_eq!(verdicts, [Verdict::Correct, Verdict::Failed, Verdict::Correct]);
    assert!(scores[1].reason.contains("rewards.py:some: it leaves this answer out (None)"), "{}", scores[1].reason);
    let verdict = |settings| reward("length", settings).score(&task(), &group(&["abc"])[0]).verdict;
    assert_eq!((verdict(json!({})), verdict(json!({"correct_from": 4}))), (Verdict::Correct, Verdict::Wrong));
}

#[test]
fn what_a_function_prints_is_no_answer_and_goes_to_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("prints.log");
    assert_eq!(values(&*reward("prints", json!({"log": log})), &["a", "b"]), [1.0, 1.0]);
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(|| ["99.0", "98.0", "97.0", "to stderr"].iter().all(|text| printed().contains(text)));
}

#[test]
fn results_that_are_none_are_errors_that_name_the_function() {
    for (function, why) in [
        ("short", "expected 3 numbers, one for each completion, got 2"),
        ("long", "expected 3 numbers, one for each completion, got 4"),
        ("number", "expected a list of 3 numbers, one for each completion, got float '1.0'"),
        ("nothing", "expected a list of 3 numbers, one for each completion, got NoneType 'None'"),
        ("words", "expected a number or None in place 0, got str '1.0'"),
        ("nested", "expected a number or None in place 0, got list '[1.0]'"),
        ("nan", "expected a finite number or None in place 0, got nan"),
        ("endless", "expected a finite number or None in place 0, got -inf"),
        ("raises", "ZeroDivisionError: division by zero ("),
        ("exits", "SystemExit: enough ("),
        ("needy", "'difficulty'; there are prompts, completions, answer, level, solution,"),
    ] {
        let reward = reward(function, json!({}));
        let error = failure(&reward.score_group(&task(), &group(&["a", "b", "c"])));
        let place = format!("rewards.py:{function}: ");
        assert!(error.contains(&place) && error.contains(why), "{function}: {error}\nexpected: {why}");
        if function == "raises" {
            assert!(error.contains("rewards.py, line ") && error.contains(", in raises)"), "{error}");
        }
    }
}

#[test]
fn unknown_tokens_are_not_given_as_none() {
    let reward = reward("columns", json!({}));
    let unknown = [Transcript::of("a", true), Transcript::of("b", true)];
    let error = failure(&reward.score_group(&task(), &unknown));
    assert!(error.contains("completion_ids") && error.contains("there are prompts, completions"), "{error}");
}

#[test]
fn a_crash_fails_its_call_and_the_next_one_has_a_new_worker() {
    let reward = reward("crash", json!({"workers": 1}));
    for _ in 0..2 {
        assert_eq!(values(&*reward, &["fine", "fine"]), [1.0, 1.0]);
        let error = failure(&reward.score_group(&task(), &group(&["fine", "crash"])));
        assert!(error.contains("rewards.py:crash: the process ended: signal 11; it printed: about to fall"), "{error}");
    }
    let leave = self::reward("leave", json!({}));
    let error = failure(&leave.score_group(&task(), &group(&["a"])));
    assert!(error.ends_with("rewards.py:leave: the process ended: exit status 3"), "{error}");
}

#[test]
fn a_hang_is_ended_even_where_no_signal_reaches() {
    let reward = reward("hang", json!({"workers": 1, "seconds": 0.5}));
    assert_eq!(values(&*reward, &["fine"]), [1.0]);
    let error = failure(&reward.score_group(&task(), &group(&["hang", "fine"])));
    assert!(error.contains("rewards.py:hang: expected an answer within 500ms, got none"), "{error}");
    assert_eq!(values(&*reward, &["fine"]), [1.0]);
}

#[test]
fn nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // Its own interpreter, which is told where to write: the environment of a test is not its own.
    let script = folder.path().join("child.py");
    let source = format!(
        "import os\nos.environ['RELIGN_TEST_PIDS'] = {:?}\nimport sys\nsys.path.insert(0, {:?})\nfrom rewards import child\n",
        file.display().to_string(),
        place(""),
    );
    std::fs::write(&script, source).unwrap();
    let reward = reward_of(&format!("python:{}:child", script.display()), json!({"seconds": 1.5}));
    let error = failure(&reward.score_group(&task(), &group(&["a"])));
    assert!(error.contains("expected an answer within 1.5s"), "{error}");
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.split(' ').count(), 2);
    wait_until(|| !pids.split(' ').any(alive));

    let count = self::reward("count", json!({}));
    let pid = values(&*count, &["a"])[0].to_string();
    assert!(alive(&pid));
    drop(count);
    wait_until(|| !alive(&pid));
}

#[test]
fn calls_at_once_have_a_worker_each() {
    let reward = reward("slow", json!({"workers": 3}));
    let pids: Vec<f64> = std::thread::scope(|scope| {
        let call = || values(&*reward, &["a"])[0];
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut distinct: Vec<u64> = pids.iter().map(|&pid| pid as u64).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert!((2..=3).contains(&distinct.len()), "{pids:?}");
}

#[test]
fn what_cannot_be_loaded_is_said_before_work_begins() {
    for (name, settings, why) in [
        (
            format!("python:{}:reward", place("broken.py")),
            json!({}),
            "ModuleNotFoundError: No module named 'package_that_is_nowhere'",
        ),
        (format!("python:{}:reward", place("syntax.py")), json!({}), "SyntaxError: "),
        (format!("python:{}:reward", place("missing.py")), json!({}), "missing.py, there is none"),
        (
            format!("python:{}:lenght", place("rewards.py")),
            json!({}),
            "expected `lenght` in it, found Array, Word, array",
        ),
        (
            format!("python:{}:__doc__", place("rewards.py")),
            json!({}),
            "expected a function, a rubric or an environment, got str",
        ),
        ("python:package_that_is_nowhere:f".to_owned(), json!({}), "No module named 'package_that_is_nowhere'"),
        (
            format!("python:{}:scaled", place("rewards.py")),
            json!({"arguments": {"faktor": 2}}),
            "unexpected keyword argument 'faktor'",
        ),
        (
            format!("python:{}:slow", place("rewards.py")),
            json!({"log": "/nowhere/prints.log"}),
            "log /nowhere/prints.log: ",
        ),
    ] {
        let reward = reward_of(&name, settings);
        let error = reward.prepare().unwrap_err();
        assert!(error.starts_with(&format!("reward `{name}`: ")) && error.contains(why), "{error}\nexpected: {why}");
        // Nor does a sample wait for what will not come.
        for _ in 0..4 {
            let error = failure(&reward.score_group(&task(), &group(&["a"])));
            assert!(error.contains(why), "{error}");
        }
        assert!(
            failure(&reward.score_group(&task(), &group(&["a"])))
                .ends_with("(not tried again after 3 starts that failed)")
        );
    }
    assert_eq!(reward("length", json!({})).prepare(), Ok(()));
}

#[test]
fn settings_are_checked() {
    let error = |name: &str, settings: Value| {
        let mut section = settings;
        section["name"] = name.into();
        let sections: Vec<RewardSection> = serde_json::from_value(json!([section])).unwrap();
        relign_tasks::rewards(&sections, Arc::new(Nothing)).err().unwrap().to_string()
    };
    let wanted = "rewards.0.function: expected PATH.py:NAME or MODULE:NAME, got";
    assert_eq!(error("python", json!({})), format!("{wanted} ``"));
    assert_eq!(error("python:rewards.py", json!({})), format!("{wanted} `rewards.py`"));
    assert_eq!(error("python:rewards.py:", json!({})), format!("{wanted} `rewards.py:`"));
    assert!(error("python:a.py:f", json!({"function": "a.py:g"})).contains("expected it once"));
    assert!(error("python:a.py:f", json!({"seconds": 0})).starts_with("rewards.0.seconds: "));
    assert!(error("python:a.py:f", json!({"second": 0})).contains("unknown field `second`"));
    assert!(error("python:a.py:f", json!({"format": "xml"})).contains("unknown variant `xml`"));
}
