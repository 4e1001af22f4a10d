//! What every registered environment and reward promises, and what each says about bad input.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relign_core::{Environment, RewardSection, Section, Split, Task, Transcript, Verdict};
use relign_tasks::environments::bbh;
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

/// Where real data lie, if they do.
fn shared(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    folder.is_dir().then_some(folder)
}

/// The folders of the built-in data sets.
const FOLDERS: [(&str, &str); 12] = [
    ("aime24", "aime"),
    ("amc23", "amc"),
    ("bbh", "bbh"),
    ("finqa", "finqa"),
    ("gsm8k", "gsm8k"),
    ("humaneval", "humaneval"),
    ("humaneval-rs", "humaneval"),
    ("math", "math"),
    ("math500", "math"),
    ("mbpp", "mbpp"),
    ("medqa", "medqa"),
    ("pubmedqa", "pubmedqa"),
];

/// A few problems made up in the form of GSM8K.
fn made_up(folder: &Path) {
    let line =
        |i: u64| json!({"question": format!("Ann has {i} pens and {i} more?"), "answer": format!("#### {}", i + i)});
    let lines = |range: std::ops::Range<u64>| range.map(|i| format!("{}\n", line(i))).collect::<String>();
    std::fs::write(folder.join("train.jsonl"), lines(1..60)).expect("written");
    std::fs::write(folder.join("test.jsonl"), lines(50..90)).expect("written");
}

/// Every registered environment, in every shape worth testing.
fn environments(folder: &Path) -> Vec<(String, Box<dyn Environment>)> {
    made_up(folder);
    let mut all = Vec::new();
    for entry in ENVIRONMENTS {
        let name = entry.name;
        let data = FOLDERS.iter().find(|(known, _)| *known == name).map(|(_, folder)| shared(folder));
        let settings = match (name, data) {
            ("arithmetic", _) => {
                let mut all: Vec<Value> = (1..=8).map(|level| json!({"name": name, "level": level})).collect();
                all.push(json!({"name": name, "operators": "+-*/", "terms": 3, "parentheses": true, "negative": true}));
                all
            }
            ("countdown", _) => vec![json!({"name": name}), json!({"name": name, "numbers": 4, "use_all": true})],
            ("dataset", _) => {
                let gold = json!({"answer": "answer|after('####')", "reward": {"name": "final_number"}});
                let with = |mut more: Value| {
                    more.as_object_mut().unwrap().extend(gold.as_object().unwrap().clone());
                    more["name"] = name.into();
                    more
                };
                vec![
                    with(json!({"path": folder})),
                    with(json!({"path": folder.join("train.jsonl"), "eval_path": folder.join("test.jsonl")})),
                    with(json!({"path": folder.join("train.jsonl"), "held_out": 0.3, "shuffle": 7})),
                ]
            }
            // Others' environments, tested in `python.rs`.
            ("verifiers", _) => Vec::new(),
            (_, Some(Some(path))) => {
                let mut all = vec![json!({"name": name, "path": path})];
                if name == "bbh" {
                    all.extend(bbh::TASKS.map(|task| json!({"name": name, "path": path, "task": task})));
                }
                all
            }
            ("gsm8k", Some(None)) => {
                relign_core::skipped!("the real gsm8k: there is no ../shared/data; a few made-up problems stand in");
                vec![json!({"name": name, "path": folder})]
            }
            (_, Some(None)) => {
                relign_core::skipped!("{name}: there is no ../shared/data with it");
                Vec::new()
            }
            (_, None) => panic!("`{name}`: expected settings to test it with"),
        };
        all.extend(settings.into_iter().map(|settings| (settings.to_string(), built(settings))));
    }
    all
}

/// How many tasks of a split there are to look at.
fn count(environment: &dyn Environment, split: Split, most: u64) -> u64 {
    environment.len(split).unwrap_or(most).min(most)
}

/// Whether this machine can run programs in a sandbox; says so where it cannot.
fn sandboxed() -> bool {
    let facts = [("language", "python"), ("tests", "assert f() == 1")];
    let facts = facts.map(|(name, fact)| (name.to_owned(), fact.to_owned())).into();
    let task = Task { facts, ..Task::default() };
    let code = (REWARDS.iter().find(|entry| entry.name == "code").unwrap().build)(json!({})).unwrap();
    let score = code.score(&task, &Transcript::of("```python\ndef f():\n    return 1\n```", true));
    if score.verdict == Verdict::Failed {
        relign_core::skipped!("programs: no sandbox here: {}", score.reason);
    }
    score.verdict != Verdict::Failed
}

/// Answers that name everything there is, with and without a mark before each.
fn sprays() -> Vec<String> {
    let letters: Vec<String> = ('A'..='Z').map(String::from).collect();
    let words = ["yes", "no", "maybe", "True", "False", "valid", "invalid"].map(str::to_owned);
    let numbers: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    let mut all = Vec::new();
    for things in [&letters[..], &words, &numbers] {
        all.push(things.join(" "));
        all.push(things.join("\n"));
        for mark in ["#### ", "The answer is ", "\\boxed{"] {
            let end = if mark.ends_with('{') { "}\n" } else { "\n" };
            all.push(things.iter().map(|thing| format!("{mark}{thing}{end}")).collect());
        }
    }
    all
}

#[test]
fn solutions_score_and_everything_else_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let sprays = sprays();
    let mut checked = 0;
    for (name, environment) in environments(folder.path()) {
        for split in [Split::Train, Split::Eval] {
            // Programs take longer to judge than texts, most of all compiled ones; the sandbox's own tests run them all.
            let (most, is_code) = match () {
                () if name.contains("humaneval-rs") => (1, true),
                () if name.contains("humaneval") || name.contains("mbpp") => (8, true),
                () => (100, false),
            };
            if is_code && !sandboxed() {
                continue;
            }
            for index in 0..count(&*environment, split, most) {
                let task = environment.task(split, index).unwrap();
                let solution = environment.oracle(&task);
                // Nobody has published solutions of humaneval-rs, and nothing is made up.
                assert_eq!(solution.last().is_empty(), name.contains("humaneval-rs"), "{name} {}", task.id);
                if !solution.last().is_empty() {
                    let oracle = environment.score(&task, &solution);
                    let got = (oracle.value, oracle.verdict);
                    assert_eq!(got, (1.0, Verdict::Correct), "{name} {}: {}", task.id, oracle.reason);
                }
                let question = &task.messages.last().unwrap().content;
                let bad = ["", " \n", question, &format!("{question}\n{question}"), "####", "####  \n"];
                for bad in bad.into_iter().chain(sprays.iter().map(String::as_str)) {
                    let short: String = bad.chars().take(60).collect();
                    let score = environment.score(&task, &Transcript::of(bad, true));
                    assert_eq!(score.value, 0.0, "{name} {}: `{short}`", task.id);
                    assert_ne!(score.verdict, Verdict::Failed, "{name} {}: `{short}`: {}", task.id, score.reason);
                }
                assert_eq!(environment.score(&task, &Transcript::default()).value, 0.0);
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked} tasks");
}

#[test]
fn splits_are_disjoint_and_tasks_are_pure() {
    let folder = tempfile::tempdir().unwrap();
    let again = environments(folder.path());
    for ((name, environment), (_, again)) in environments(folder.path()).into_iter().zip(again) {
        let drawn = environment.len(Split::Eval).is_none();
        let mut eval = HashSet::new();
        // From the end, so that asking in another order is tried too.
        for index in (0..count(&*environment, Split::Eval, if drawn { 300 } else { 2000 })).rev() {
            let task = environment.task(Split::Eval, index).unwrap();
            let fresh = eval.insert(task.messages.last().unwrap().content.clone());
            // Real data hold a few questions twice; they are measured as they are.
            assert!(fresh || !drawn, "{name}: {} comes twice", task.id);
            if index % 50 == 0 {
                assert_eq!(task, again.task(Split::Eval, index).unwrap());
            }
        }
        assert!(eval.len() > 1, "{name}: {} held-out tasks", eval.len());
        let mut ids = HashSet::new();
        for index in 0..count(&*environment, Split::Train, 2000) {
            let task = environment.task(Split::Train, index).unwrap();
            assert!(!eval.contains(&task.messages.last().unwrap().content), "{name}: {} is held out too", task.id);
            assert!(ids.insert(task.id.clone()));
            if index % 50 == 0 {
                assert_eq!(task, again.task(Split::Train, index).unwrap());
            }
        }
        assert_eq!(environment.data(), again.data(), "{name}");
        assert_eq!(environment.data().is_empty(), drawn, "{name}");
    }
}

#[test]
fn data_sets_have_the_rows_that_their_authors_say() {
    for (name, train, eval) in [
        ("aime24", 0, 30),
        ("amc23", 0, 40),
        ("bbh", 0, 6511),
        ("finqa", 0, 883),
        ("gsm8k", 7473, 1319),
        ("humaneval", 0, 164),
        ("humaneval-rs", 0, 156),
        ("math", 7472, 500),
        ("math500", 0, 500),
        ("mbpp", 371, 500),
        ("medqa", 0, 1273),
        ("pubmedqa", 500, 500),
    ] {
        let folder = FOLDERS.iter().find(|(known, _)| *known == name).unwrap().1;
        let Some(path) = shared(folder) else {
            relign_core::skipped!("{name}: there is no ../shared/data with it");
            continue;
        };
        let environment = built(json!({"name": name, "path": path}));
        let lengths = [Split::Train, Split::Eval].map(|split| environment.len(split));
        assert_eq!(lengths, [Some(train), Some(eval)], "{name}: {:?}", environment.task(Split::Eval, 0).err());
    }
    let Some(path) = shared("pubmedqa") else { return };
    // The held-out papers are those of the authors' own list.
    let truth = std::fs::read_to_string(path.join("test_ground_truth.json")).unwrap();
    let truth: serde_json::Map<String, Value> = serde_json::from_str(&truth).unwrap();
    let papers = std::fs::read_to_string(path.join("ori_pqal.json")).unwrap();
    let papers: serde_json::Map<String, Value> = serde_json::from_str(&papers).unwrap();
    let environment = built(json!({"name": "pubmedqa", "path": path}));
    let mut wanted: Vec<&str> = truth.keys().map(|id| papers[id]["QUESTION"].as_str().unwrap()).collect();
    let tasks: Vec<Task> = (0..500).map(|index| environment.task(Split::Eval, index).unwrap()).collect();
    let asked = |task: &Task| {
        let text = &task.messages[0].content;
        text.split("Question: ").last().unwrap().split("\n\n").next().unwrap().to_owned()
    };
    let mut got: Vec<String> = tasks.iter().map(asked).collect();
    wanted.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, wanted);
}

#[test]
fn files_are_called_as_the_tables_say() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let environments = ENVIRONMENTS.iter().map(|entry| ("environments", entry.name));
    let rewards = REWARDS.iter().map(|entry| ("rewards", entry.name));
    for (folder, name) in environments.chain(rewards) {
        let stem = source.join(folder).join(name.replace('-', "_"));
        assert!(stem.with_extension("rs").is_file() || stem.join("mod.rs").is_file(), "{}", stem.display());
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
            "environment.name: unknown environment `arithmetik`, expected one of: aime24, amc23, arithmetic",
        ),
        (json!({"name": "arithmetic", "level": 9}), "environment.level: expected 1 to 8, got 9"),
        (json!({"name": "arithmetic", "levels": 1}), "unknown key `levels`"),
        (json!({"name": "arithmetic", "draws": {}}), "unknown key `draws`"),
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
    assert!(task().unwrap_err().contains("test.jsonl: expected a file of rows"));
    write("test.jsonl", "\n");
    assert!(task().unwrap_err().contains("test.jsonl: expected at least one row, got none"));
    write("test.jsonl", good);
    for (line, why) in [
        ("{\"question\": 1", "train.jsonl:2: expected an object, got: EOF"),
        ("{\"question\": \"?\"}", "train.jsonl:2: field gold: `answer|after('####')`: a field that the row lacks"),
        (
            "{\"question\": \"?\", \"answer\": \"#### two\"}",
            "expected an answer that ends in #### and a number, got `two`",
        ),
        (
            "{\"question\": \"?\", \"answer\": \"two\"}",
            "train.jsonl:2: field gold: `answer|after('####')`: expected a text that holds `####`, got `two`",
        ),
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

/// What a reward's solution is: the task's answer and an answer that earns 1. None for those that shape a
/// reward and judge nothing; their own tests say what they pay for.
fn solution(reward: &str) -> Option<(&'static str, &'static str)> {
    match reward {
        "length" | "overlong" | "repetition" | "language" => None,
        // What runs programs or asks others has tests of its own.
        "code" | "http" | "judge" | "python" => None,
        "choice" => Some(("B", "It is seventy-two.\n#### B")),
        "label" => Some(("yes", "8 * 9 = 72\n#### yes")),
        _ => Some(("72", "8 * 9 = 72\n#### 72")),
    }
}

#[test]
fn every_reward_pays_for_a_solution_and_not_for_noise() {
    let question = "8 * 9 #### ?\n(A) 71\n(B) 72";
    let sprays = sprays();
    for entry in REWARDS {
        let Some((answer, right)) = solution(entry.name) else { continue };
        // With options, a number is one of them.
        let question = if entry.name == "choice" { question } else { "8 * 9 #### ?" };
        let messages = vec![relign_core::Message::user(question)];
        let task = Task { answer: answer.to_owned(), messages, ..Task::default() };
        let reward = (entry.build)(json!({})).unwrap();
        let value = |text: &str| reward.score(&task, &Transcript::of(text, true)).value;
        assert_eq!(value(right), 1.0, "{}", entry.name);
        for bad in ["", question, &format!("{question}{question}")].into_iter().chain(sprays.iter().map(String::as_str))
        {
            let short: String = bad.chars().take(60).collect();
            // `format` looks at a marker alone, whatever stands behind it.
            let marked_once = entry.name == "format" && bad.matches("####").count() == 1;
            assert!(marked_once || value(bad) == 0.0, "{}: `{short}`", entry.name);
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

    let error = |json| build(json).err().expect("an error").to_string();
    let endless = error(json!([{"name": "format", "weight": 1.7e308}]));
    assert_eq!(endless, "rewards.0.weight: expected a number from -1e9 to 1e9, got 1.7e308");
    assert!(
        error(json!([{"name": "format"}, {"name": "formt"}])).starts_with("rewards.1.name: unknown reward `formt`")
    );
    assert!(error(json!([{"name": "format", "marked": 1}])).contains("rewards.0"));
    assert!(error(json!([{"name": "environment", "level": 1}])).starts_with("rewards.0.level: "));

    // Gates.
    let gated = |when: Value| {
        build(json!([{"name": "environment"}, {"name": "format", "weight": 0.25, "when": when}, {"name": "length"}]))
    };
    let wrong = Transcript::of("#### 1000", true);
    let only_right = gated(json!({"reward": "environment"})).unwrap();
    assert_eq!(only_right.score(&task, &right).parts["format"], 0.25);
    assert_eq!(only_right.score(&task, &wrong).parts["format"], 0.0);
    let any = gated(json!({"reward": "environment", "at_least": 0.0})).unwrap();
    assert_eq!(any.score(&task, &wrong).parts["format"], 0.25);
    // A gate at a part behind a closed gate is closed.
    let chain = json!([
        {"name": "environment"},
        {"name": "length", "when": {"reward": "environment"}},
        {"name": "format", "when": {"reward": "length", "at_least": 0}},
    ]);
    assert_eq!(build(chain.clone()).unwrap().score(&task, &wrong).value, 0.0);
    assert!(build(chain).unwrap().score(&task, &right).value > 2.5);
    let refused = |json| gated(json).err().expect("an error").to_string();
    assert!(
        refused(json!({"reward": "length"}))
            .starts_with("rewards.1.when.reward: expected an earlier part (environment)")
    );
}
