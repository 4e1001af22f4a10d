//! Reward functions in Python: what they are given, and what becomes of those that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "python/common.rs"]
mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{Nothing, failure, group, place, reward, reward_of, task, values, wait_until};
use relign_core::{Message, RewardSection, Score, Split, Task, Transcript, Verdict};
use serde_json::{Value, json};

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
        ("needy", "'difficulty'; there are prompts, completions, answer, solution, level,"),
    ] {
        let reward = reward(function, json!({}));
        let error = failure(&reward.score_group(&task(), &group(&["a", "b", "c"])));
        let place = format!("rewards.py:{function}: ");
        assert!(error.contains(&place) && error.contains(why), "{function}: {error}\nexpected: {why}");
        if function == "raises" {
            assert!(error.contains("rewards.py, line ") && error.contains(", in raises: return [1 / 0])"), "{error}");
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
            "expected `lenght` in it, found Array, Word, aborts",
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

/// A Python that can import `module`, if this machine has one where such are kept.
fn python_with(module: &str) -> Option<String> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.x/peers/bin/python").display().to_string();
    let own = std::env::var("RELIGN_PYTHON").ok();
    let found = own.into_iter().chain([peers, "python3".to_owned()]).find(|python| {
        let import = format!("import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)");
        Command::new(python).args(["-c", &import]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        relign_core::skipped!("no Python here has `{module}`; RELIGN_PYTHON can name one that has");
    }
    found
}

#[test]
fn trls_own_functions_return_here_what_they_return_there() {
    let Some(python) = python_with("trl").filter(|_| python_with("math_verify").is_some()) else { return };
    let texts = [
        r"<think>Eight nines.</think> \boxed{72}",
        r"<think>Eight nines.</think> The answer is $73$.",
        r"I think <think>so</think> $\frac{144}{2}$",
        "72",
        "",
        "<think>no end, and far too long an answer for what was asked \u{1f600}",
        r"$72$, and a few more words",
    ];
    let transcripts = group(&texts);
    for answer in ["72", r"\frac{144}{2}", "no number"] {
        let task = Task { answer: answer.to_owned(), ..task() };
        let input = json!({
            "prompts": vec![json!(task.messages); texts.len()],
            "completions": transcripts.iter().map(|t| &t.messages).collect::<Vec<_>>(),
            "completion_ids": transcripts.iter().map(|t| &t.ids).collect::<Vec<_>>(),
            "solution": vec![answer; texts.len()],
        });
        let mut direct = Command::new(&python)
            .arg(place("direct.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        direct.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = direct.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let expected: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        for (name, key, settings) in [
            ("python:trl.rewards:accuracy_reward", "accuracy_reward", json!({"seconds": 60})),
            ("python:trl.rewards:think_format_reward", "think_format_reward", json!({"seconds": 60, "thoughts": true})),
            (
                "python:trl.rewards:get_soft_overlong_punishment",
                "soft_overlong",
                json!({"arguments": {"max_completion_len": 40, "soft_punish_cache": 20}}),
            ),
        ] {
            let mut settings = settings;
            settings["python"] = python.as_str().into();
            settings["workers"] = 1.into();
            let scores = reward_of(name, settings).score_group(&task, &transcripts);
            let ours: Vec<Value> = scores
                .iter()
                .map(|score| match score.verdict {
                    Verdict::Failed => {
                        assert!(score.reason.ends_with("it leaves this answer out (None)"), "{}", score.reason);
                        Value::Null
                    }
                    _ => json!(score.value),
                })
                .collect();
            assert_eq!(json!(ours), expected[key], "{name} with the solution {answer}");
        }
    }
}

#[test]
fn rubrics_and_environments_of_verifiers_run() {
    let Some(python) = python_with("verifiers.rubrics").filter(|_| python_with("datasets").is_some()) else { return };
    let at = |name: &str| format!("python:{}:{name}", place("environment.py"));
    let settings = || json!({"python": python, "workers": 1, "seconds": 60});
    let task = Task { facts: [("info".to_owned(), r#"{"limit": 3}"#.to_owned())].into(), ..task() };
    let scores = reward_of(&at("rubric"), settings()).score_group(&task, &group(&["72", "raise", "7", "seventy-two"]));
    assert_eq!((scores[0].value, scores[2].value, scores[3].value), (1.25, 0.25, 0.0));
    // The package logs what a function raises and makes it 0; here it is masked.
    assert_eq!(scores[1].verdict, Verdict::Failed);
    assert!(
        scores[1].reason.contains("environment.py:rubric: Error calling reward function brief: no such luck"),
        "{}",
        scores[1].reason
    );
    assert_eq!(
        values_of(&reward_of(&at("group"), settings()).score_group(&task, &group(&["72", "7", "seventy-two"]))),
        [1.0, 0.0, 0.5]
    );
    let mut made = settings();
    made["arguments"] = json!({});
    assert_eq!(
        values_of(&reward_of(&at("load_environment"), made).score_group(&task, &group(&["72", "7"]))),
        [1.25, 0.25]
    );

    let environment = |settings: Value| {
        let mut section = settings;
        section["name"] = "verifiers".into();
        section["python"] = python.as_str().into();
        section["workers"] = 1.into();
        section["seconds"] = 60.into();
        relign_tasks::environment(&serde_json::from_value(section).unwrap()).unwrap()
    };
    let place_of = |name: &str| format!("{}:{name}", place("environment.py"));
    let own = environment(json!({"environment": place_of("load_environment")}));
    assert_eq!((own.len(Split::Train), own.len(Split::Eval)), (Some(15), Some(5)));
    let first = own.task(Split::Train, 3).unwrap();
    assert_eq!(first.messages, [Message::system("Answer with the number alone."), Message::user("3 + 3?")]);
    assert_eq!((first.answer.as_str(), first.id.as_str()), ("6", "verifiers/train/3"));
    let score = |text: &str| own.score(&first, &Transcript::of(text, true));
    assert_eq!((score("6").value, score("6").verdict, score("5").value), (1.25, Verdict::Correct, 0.25));
    assert_eq!((score("sixteen").value, score("raise").verdict), (0.0, Verdict::Failed));
    assert_eq!(own.score(&first, &own.oracle(&first)).verdict, Verdict::Correct);
    assert!(own.task(Split::Eval, 5).unwrap_err().ends_with("expected an index below 5, got 5"));

    let compared = environment(json!({"environment": place_of("compared")}));
    let task = compared.task(Split::Train, 3).unwrap();
    let reward = relign_tasks::rewards(&[], Arc::from(compared)).unwrap();
    assert!(reward.needs().group);
    assert_eq!(values_of(&reward.score_group(&task, &group(&["6", "60", "600"]))), [1.0, 0.0, 0.5]);

    // Without rows of its own to hold out, a share of them is, and never asked in training.
    let shared = environment(json!({"environment": place_of("load_environment"),
        "arguments": {"n": 200, "evaluated": false}, "held_out": 0.25}));
    let asked = |split| -> Vec<Message> {
        (0..shared.len(split).unwrap()).map(|index| shared.task(split, index).unwrap().messages[1].clone()).collect()
    };
    let (train, eval) = (asked(Split::Train), asked(Split::Eval));
    assert!(train.len() + eval.len() == 200 && (30..70).contains(&eval.len()), "{} held out", eval.len());
    assert!(eval.iter().all(|question| !train.contains(question)));

    let error = |name: &str| environment(json!({"environment": place_of(name)})).task(Split::Train, 0).unwrap_err();
    assert!(error("several_turns").contains("expected an environment of one turn, got Several with max_turns 3"));
    assert!(error("rows").contains("missing 1 required positional argument"), "{}", error("rows"));
    assert!(error("rubric").contains("`arguments` are for something to call"), "{}", error("rubric"));
}

fn values_of(scores: &[Score]) -> Vec<f64> {
    scores
        .iter()
        .map(|score| if score.verdict == Verdict::Failed { panic!("{}", score.reason) } else { score.value })
        .collect()
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
    assert!(error("python:a.py:f", json!({"second": 0})).contains("unknown key `second`"));
    assert!(error("python:a.py:f", json!({"format": "xml"})).contains("unknown name `xml`"));
}
