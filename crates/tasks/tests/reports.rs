//! Answers after public reports of people who train and evaluate models, and what is right about each.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::path::Path;

use relign_core::{Score, Task, Transcript, Verdict};
use relign_tasks::rewards::REWARDS;
use serde_json::{Value, json};

/// The rows of a file of cases, none where it is missing.
fn rows(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(error) => {
            relign_core::skipped!("{}: {error}", path.display());
            Vec::new()
        }
    }
}

fn score(reward: &str, task: &Task, answer: &str) -> Score {
    (REWARDS.iter().find(|entry| entry.name == reward).unwrap().build)(json!({}))
        .unwrap()
        .score(task, &Transcript::of(answer, true))
}

/// The rows that are judged otherwise than they should be.
fn wrongly_judged(rows: &[Value], judge: impl Fn(&Value, &str) -> Score) -> Vec<String> {
    let judged = rows.iter().filter_map(|row| {
        let answer = row["answer"].as_str().unwrap();
        let score = judge(row, answer);
        let right = row["right"] == 1;
        (right != (score.verdict == Verdict::Correct))
            .then(|| format!("{answer:?}: right {right}, got {:?} ({})", score.verdict, score.reason))
    });
    judged.collect()
}

fn with_options(gold: &str, options: &Value) -> Task {
    let facts = [("options".to_owned(), options.to_string())].into();
    Task { answer: gold.to_owned(), facts, ..Task::default() }
}

#[test]
fn what_stands_in_a_thought_is_no_answer() {
    let rows = rows("thoughts.jsonl");
    for reward in ["math", "final_number", "numeric"] {
        let wrong = wrongly_judged(&rows, |row, answer| {
            let task = Task { answer: row["gold"].as_str().unwrap().to_owned(), ..Task::default() };
            score(reward, &task, answer)
        });
        assert!(wrong.is_empty(), "{reward}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn choices_are_read_as_their_readers_would() {
    let wrong = wrongly_judged(&rows("choice.jsonl"), |row, answer| {
        score("choice", &with_options(row["gold"].as_str().unwrap(), &row["options"]), answer)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_block_with_the_solution_counts() {
    let prefix = "from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    \"\"\"Sum of the even numbers of xs.\n    >>> total([1, 2, 4])\n    6\n    \"\"\"\n";
    let tests = "def check(candidate):\n    assert candidate([1, 2, 4]) == 6\n    assert candidate([]) == 0\n    assert candidate([3, -2]) == -2\n\ncheck(total)\n";
    let facts = [("language", "python"), ("prefix", prefix), ("entry_point", "total"), ("tests", tests)];
    let task = Task { facts: facts.map(|(name, text)| (name.to_owned(), text.to_owned())).into(), ..Task::default() };
    let rows = rows("code.jsonl");
    if rows.first().is_some_and(|row| score("code", &task, row["answer"].as_str().unwrap()).verdict == Verdict::Failed)
    {
        relign_core::skipped!("programs: no sandbox here");
        return;
    }
    let wrong = wrongly_judged(&rows, |_, answer| score("code", &task, answer));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn numbers_that_a_program_prints_are_compared_as_numbers_where_asked() {
    let program = "```python\nfor line in open(0):\n    print(float(line) / 3)\n```";
    for cases in [
        r#"[{"input": "1.50\n3\n", "output": "0.50\n1\n"}]"#,
        r#"{"inputs": ["1.5\n3\n"], "outputs": [["0.50", "1"]]}"#,
    ] {
        let facts = [("language", "python"), ("cases", cases)].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let task = Task { facts: facts.into(), ..Task::default() };
        let verdict = |settings: Value| {
            let reward = (REWARDS.iter().find(|entry| entry.name == "code").unwrap().build)(settings).unwrap();
            reward.score(&task, &Transcript::of(program, true)).verdict
        };
        if verdict(json!({})) == Verdict::Failed {
            relign_core::skipped!("programs: no sandbox here");
            return;
        }
        assert_eq!(verdict(json!({})), Verdict::Wrong, "as text");
        assert_eq!(verdict(json!({"tolerance": 0})), Verdict::Correct, "as numbers");
    }
}
