//! What every registered environment and reward promises, and what each says about bad input.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use relign_core::{Environment, RewardSection, Section, Split, Task, Transcript, Verdict};
use relign_tasks::{ENVIRONMENTS, Expression, REWARDS, environment, number, rewards};
use serde_json::{Value, json};

fn section(json: Value) -> Section {
    serde_json::from_value(json).expect("a section")
}

fn built(json: Value) -> Box<dyn Environment> {
    environment(&section(json)).expect("valid settings")
}

fn refused(json: Value) -> String {
    environment(&section(json)).err().expect("an error").to_string()
}

/// The real problems, or a few made up where the machine has none.
fn gsm8k(made_up: &Path) -> Value {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gsm8k");
    if real.is_dir() {
        return json!({"name": "gsm8k", "path": real});
    }
    eprintln!("SKIPPED the real GSM8K: there is no {}; a few made-up problems stand in", real.display());
    let line =
        |i: u64| json!({"question": format!("Ann has {i} pens and {i} more?"), "answer": format!("#### {}", i + i)});
    let lines = |range: std::ops::Range<u64>| range.map(|i| format!("{}\n", line(i))).collect::<String>();
    std::fs::write(made_up.join("train.jsonl"), lines(1..60)).expect("written");
    std::fs::write(made_up.join("test.jsonl"), lines(50..90)).expect("written");
    json!({"name": "gsm8k", "path": made_up})
}

/// Every registered environment, in every shape worth testing, with how many tasks to look at.
fn environments(folder: &Path) -> Vec<(String, Box<dyn Environment>, u64)> {
    let mut all = Vec::new();
    for entry in ENVIRONMENTS {
        let settings = match entry.name {
            "arithmetic" => {
                let mut all: Vec<Value> = (1..=8).map(|level| json!({"name": "arithmetic", "level": level})).collect();
                all.push(json!({"name": "arithmetic", "operators": "+-*/", "terms": 3, "parentheses": true, "negative": true}));
                all
            }
            "gsm8k" => vec![gsm8k(folder)],
            // Others' environments, tested in `python.rs`.
            "verifiers" => vec![],
            name => vec![json!({"name": name}), json!({"name": name, "numbers": 4, "use_all": true})],
        };
        for settings in settings {
            let environment = built(settings.clone());
            let most = |split| environment.len(split).unwrap_or(2000);
            let count = most(Split::Train).min(most(Split::Eval)).min(2000);
            all.push((settings.to_string(), environment, count));
        }
    }
    all
}

fn value(environment: &dyn Environment, task: &Task, answer: &str) -> f64 {
    environment.score(task, &Transcript::of(answer, true)).value
}

#[test]
fn solutions_score_and_everything_else_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let spray: String = (0..3000).map(|n| format!("{n} ")).collect();
    let marked: String = (0..3000).map(|n| format!("#### {n}\n")).collect();
    for (name, environment, count) in environments(folder.path()) {
        for split in [Split::Train, Split::Eval] {
            for index in 0..count.min(200) {
                let task = environment.task(split, index).unwrap();
                let oracle = environment.score(&task, &environment.oracle(&task));
                assert_eq!(
                    (oracle.value, oracle.verdict),
                    (1.0, Verdict::Correct),
                    "{name} {}: {}",
                    task.id,
                    oracle.reason
                );
                let question = &task.messages.last().unwrap().content;
                for bad in
                    ["", " \n", question, &format!("{question}\n{question}"), &spray, &marked, "####", "####  \n"]
                {
                    let short: String = bad.chars().take(60).collect();
                    assert_eq!(value(&*environment, &task, bad), 0.0, "{name} {}: `{short}`", task.id);
                }
                assert_eq!(environment.score(&task, &Transcript::default()).value, 0.0);
            }
        }
    }
}

#[test]
fn splits_are_disjoint_and_tasks_are_pure() {
    let folder = tempfile::tempdir().unwrap();
    for (name, environment, count) in environments(folder.path()) {
        let held_out = if name.contains("arithmetic") { count.min(300) } else { count };
        let again = environments(folder.path()).into_iter().find(|(other, ..)| *other == name).unwrap().1;
        let mut eval = HashSet::new();
        // From the end, so that asking in another order is tried too.
        for index in (0..held_out).rev() {
            let task = environment.task(Split::Eval, index).unwrap();
            assert!(eval.insert(task.messages.last().unwrap().content.clone()), "{name}: {} comes twice", task.id);
            if index % 50 == 0 {
                assert_eq!(task, again.task(Split::Eval, index).unwrap());
            }
        }
        let mut ids = HashSet::new();
        for index in 0..count {
            let task = environment.task(Split::Train, index).unwrap();
            assert!(!eval.contains(&task.messages.last().unwrap().content), "{name}: {} is held out too", task.id);
            assert!(ids.insert(task.id.clone()));
            if index % 50 == 0 {
                assert_eq!(task, again.task(Split::Train, index).unwrap());
            }
        }
    }
}

/// The problem itself, without names, order and whoever asks: what must not be in both splits.
#[test]
fn no_arithmetic_problem_is_in_both_splits_under_any_settings() {
    let canonical = |environment: &dyn Environment, split, index| {
        let task = environment.task(split, index).unwrap();
        Expression::parse(&task.facts["expression"]).unwrap().canonical()
    };
    let mut train = HashSet::new();
    let mut eval = HashSet::new();
    for (level, seed) in [(1, 1), (2, 1), (2, 2), (3, 1), (4, 7), (5, 1), (6, 1), (7, 1), (7, 2), (8, 1)] {
        let environment = built(json!({"name": "arithmetic", "level": level, "seed": seed}));
        train.extend((0..1500).map(|index| canonical(&*environment, Split::Train, index)));
        eval.extend((0..200).map(|index| canonical(&*environment, Split::Eval, index)));
    }
    assert!(train.len() > 5000 && eval.len() > 1000, "{} and {} distinct problems", train.len(), eval.len());
    assert_eq!(train.intersection(&eval).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn arithmetic_answers_are_right_and_not_given_away() {
    for level in 1..=8 {
        let environment = built(json!({"name": "arithmetic", "level": level}));
        let mut answers = HashSet::new();
        for index in 0..300 {
            let task = environment.task(Split::Train, index).unwrap();
            let value = Expression::parse(&task.facts["expression"]).unwrap().value().unwrap();
            assert_eq!(value.to_string(), task.answer);
            let question = &task.messages[0].content;
            let named = number::numbers(question).into_iter().any(|found| found.value.to_string() == task.answer);
            assert!(!named, "`{question}` names its answer {}", task.answer);
            answers.insert(task.answer);
        }
        assert!(answers.len() > 30, "level {level} has {} answers", answers.len());
    }
}

#[test]
fn settings_of_environments_are_checked() {
    for (settings, why) in [
        (
            json!({"name": "arithmetik"}),
            "environment.name: unknown environment `arithmetik`, expected one of: arithmetic",
        ),
        (json!({"name": "arithmetic", "level": 9}), "environment.level: expected 1 to 8, got 9"),
        (json!({"name": "arithmetic", "levels": 1}), "unknown field `levels`"),
        (json!({"name": "arithmetic", "draws": {}}), "unknown field `draws`"),
        (json!({"name": "arithmetic", "level": "two"}), "environment.level: invalid type: string \"two\""),
        (json!({"name": "arithmetic", "operators": "+^"}), "environment.operators: expected some of"),
        (json!({"name": "arithmetic", "min": 9, "max": 3}), "environment.max: expected 9 (the smallest)"),
        (json!({"name": "arithmetic", "terms": 1}), "environment.terms: expected 2 to 12, got 1"),
        (json!({"name": "arithmetic", "level": 7, "terms": 3}), "environment.terms: level 7 tells stories"),
        (json!({"name": "countdown", "numbers": 1}), "environment.numbers: expected 2 to 8, got 1"),
    ] {
        assert!(refused(settings.clone()).contains(why), "{settings}: {}", refused(settings.clone()));
    }
}

#[test]
fn too_few_problems_are_an_error_not_a_repetition() {
    let narrow = built(json!({"name": "arithmetic", "operators": "+", "min": 1, "max": 6}));
    let error = (0..).find_map(|index| narrow.task(Split::Eval, index).err()).unwrap();
    assert!(error.contains("distinct held-out problems, got"), "{error}");
    let none = built(json!({"name": "arithmetic", "operators": "*", "min": 1, "max": 1}));
    for split in [Split::Train, Split::Eval] {
        assert!(none.task(split, 0).unwrap_err().contains("level 1: expected settings"));
    }
}

#[test]
fn files_of_gsm8k_that_do_not_fit_are_named_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let task = || built(json!({"name": "gsm8k", "path": folder.path()})).task(Split::Train, 0);
    let good = r#"{"question": "One and one?", "answer": "1+1=2\n#### 2"}"#;
    assert!(task().unwrap_err().contains("test.jsonl: expected a JSON Lines file"));
    write("test.jsonl", "\n");
    assert!(task().unwrap_err().contains("test.jsonl: expected at least one problem, got an empty dataset"));
    write("test.jsonl", good);
    for (line, why) in [
        ("{\"question\": 1", "train.jsonl:2: expected an object with `question` and `answer`"),
        ("{\"question\": \"?\"}", "missing field `answer`"),
        ("{\"question\": \"?\", \"answer\": \"two\"}", "in #### and a number, got `two`"),
    ] {
        write("train.jsonl", &format!("{good}\n{line}\n"));
        assert!(task().unwrap_err().contains(why), "{}", task().unwrap_err());
    }
    let other = r#"{"question": "One and two?", "answer": "\n#### 3"}"#;
    write("train.jsonl", &format!("{}\n{other}\n", good.replace("One and", "ONE  and")));
    let environment = built(json!({"name": "gsm8k", "path": folder.path()}));
    assert_eq!((environment.len(Split::Train), environment.len(Split::Eval)), (Some(1), Some(1)));
    assert_eq!(environment.task(Split::Train, 0).unwrap().answer, "3");
    assert!(environment.task(Split::Train, 1).unwrap_err().contains("expected an index below 1, got 1"));
}

#[test]
fn every_reward_pays_for_a_solution_and_not_for_noise() {
    let task =
        Task { answer: "72".to_owned(), messages: vec![relign_core::Message::user("8 * 9 #### ?")], ..Task::default() };
    let spray: String = (0..100).map(|n| format!("#### {n}\n")).collect();
    // `length` shapes a reward and judges nothing; others ask someone. Their own tests say what they pay for.
    let elsewhere = ["http", "judge", "length", "python"];
    for entry in REWARDS.iter().filter(|entry| !elsewhere.contains(&entry.name)) {
        let reward = (entry.build)(json!({})).unwrap();
        let value = |text: &str| reward.score(&task, &Transcript::of(text, true)).value;
        assert_eq!(value("8 * 9 = 72\n#### 72"), 1.0, "{}", entry.name);
        for bad in ["", "8 * 9 #### ?", "8 * 9 #### ?8 * 9 #### ?", &spray] {
            assert_eq!(value(bad), 0.0, "{}: `{bad}`", entry.name);
        }
        assert!(!entry.summary().is_empty());
    }
}

#[test]
fn rewards_add_up() {
    let environment: Arc<dyn Environment> = Arc::from(built(json!({"name": "arithmetic"})));
    let task = environment.task(Split::Train, 0).unwrap();
    let sections = |json: Value| serde_json::from_value::<Vec<RewardSection>>(json).unwrap();
    let build = |json| rewards(&sections(json), Arc::clone(&environment));
    let right = Transcript::of(format!("#### {}", task.answer), true);
    let formless = Transcript::of(&task.answer, true);

    assert_eq!(build(json!([])).unwrap().score(&task, &formless), environment.score(&task, &formless));
    let both = build(json!([{"name": "environment"}, {"name": "format", "weight": 0.25}])).unwrap();
    let score = both.score(&task, &right);
    assert_eq!((score.value, score.verdict), (1.25, Verdict::Correct));
    assert_eq!(score.parts, [("environment".to_owned(), 1.0), ("format".to_owned(), 0.25)].into());
    assert_eq!(both.score(&task, &formless).value, 1.0);
    assert_eq!(both.score(&task, &Transcript::of("#### none", true)).verdict, Verdict::Unparsed);

    let failing = build(json!([{"name": "format"}, {"name": "final_number"}])).unwrap();
    let score = failing.score(&Task { answer: "?".to_owned(), ..task.clone() }, &right);
    assert_eq!(score.verdict, Verdict::Failed);
    assert!(score.reason.starts_with("reward `final_number`: "), "{}", score.reason);

    let endless = build(json!([{"name": "format", "weight": 1.7e308}, {"name": "format", "weight": 1.7e308}])).unwrap();
    assert_eq!(endless.score(&task, &right).verdict, Verdict::Failed);

    let error = |json| build(json).err().expect("an error").to_string();
    assert!(
        error(json!([{"name": "format"}, {"name": "formt"}])).starts_with("rewards.1.name: unknown reward `formt`")
    );
    assert!(error(json!([{"name": "format", "marked": 1}])).contains("rewards.0"));
    assert!(error(json!([{"name": "environment", "level": 1}])).starts_with("rewards.0.level: "));
}
