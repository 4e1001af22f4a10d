//! The code reward on HumanEval, MBPP and MultiPL-E's Rust: right solutions pass, wrong ones do not.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use relign_core::{Reward, Score, Task, Transcript, Verdict, find};
use relign_tasks::REWARDS;
use serde_json::{Value, json};

fn data(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file);
    if !path.exists() {
        relign_core::skipped!("there is no {}", path.display());
        return None;
    }
    Some(path)
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn reward() -> Arc<dyn Reward> {
    // Two of HumanEval's canonical solutions need some seconds on a slow machine.
    Arc::from((find("reward", REWARDS, "code").unwrap().build)(json!({"limits": {"cpu_seconds": 30.0}})).unwrap())
}

fn task(facts: &[(&str, &str)]) -> Task {
    let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Task { id: "test".to_owned(), facts, ..Task::default() }
}

/// All of `asked` judged on both cores, with what each was expected to be; returns what came out otherwise.
fn surprises(asked: &[(String, Task, String, Verdict)]) -> Vec<String> {
    let (reward, next, found) = (reward(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, task, answer, expected)) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Score { verdict, reason, value, .. } = reward.score(task, &Transcript::of(answer, true));
                    assert_eq!(value, if verdict == Verdict::Correct { 1.0 } else { 0.0 });
                    if verdict != *expected {
                        found.lock().unwrap().push(format!("{name}: {verdict:?}, {reason}\n{answer}"));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn humaneval() {
    let Some(path) = data("humaneval/HumanEval.jsonl.gz") else { return };
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut asked = Vec::new();
    for row in rows(&text) {
        let of = |field: &str| row[field].as_str().unwrap();
        let (prompt, name) = (of("prompt"), of("entry_point"));
        let tests = format!("{}\ncheck({name})", of("test"));
        let task = task(&[("language", "python"), ("prefix", prompt), ("entry_point", name), ("tests", &tests)]);
        let mut ask = |answer: String, verdict| asked.push((of("task_id").to_owned(), task.clone(), answer, verdict));
        // As a completion, and as a model in conversation gives it.
        ask(of("canonical_solution").to_owned(), Verdict::Correct);
        ask(format!("Here:\n```python\n{prompt}{}\n```", of("canonical_solution")), Verdict::Correct);
        ask("    pass\n".to_owned(), Verdict::Wrong);
        ask("    return 'a wrong constant'\n".to_owned(), Verdict::Wrong);
        // The question itself is no answer.
        ask(format!("```python\n{prompt}\n```"), Verdict::Wrong);
    }
    assert_eq!(asked.len(), 5 * 164);
    let surprises = surprises(&asked);
    assert!(surprises.is_empty(), "{} of {}:\n{}", surprises.len(), asked.len(), surprises.join("\n\n"));
}

#[test]
fn mbpp() {
    let Some(path) = data("mbpp/mbpp.jsonl") else { return };
    let mut asked = Vec::new();
    for row in rows(&std::fs::read_to_string(path).unwrap()) {
        let code = row["code"].as_str().unwrap();
        let list: Vec<&str> = row["test_list"].as_array().unwrap().iter().map(|test| test.as_str().unwrap()).collect();
        let tests = format!("{}\n{}", row["test_setup_code"].as_str().unwrap(), list.join("\n"));
        let task = task(&[("language", "python"), ("tests", &tests)]);
        let id = row["task_id"].to_string();
        let mut ask = |answer: String, verdict| asked.push((format!("MBPP {id}"), task.clone(), answer, verdict));
        ask(format!("```python\n{code}\n```"), Verdict::Correct);
        // The function that the tests call once more, with another body; what stands above it stays.
        let test: String = list[0].split_whitespace().collect();
        let names = code.lines().filter_map(|line| line.strip_prefix("def ")?.split('(').next());
        let name = names.map(str::trim).find(|name| test.contains(&format!("{name}("))).unwrap();
        let head = format!("def {name}");
        ask(format!("```python\n{code}\n{head}(*args):\n    pass\n```"), Verdict::Wrong);
        ask(format!("```python\n{code}\n{head}(*args):\n    return 'a wrong constant'\n```"), Verdict::Wrong);
    }
    assert_eq!(asked.len(), 3 * 974);
    let surprises = surprises(&asked);
    assert!(surprises.is_empty(), "{} of {}:\n{}", surprises.len(), asked.len(), surprises.join("\n\n"));
}

/// Written for this test; MultiPL-E has no solutions of its own.
const SOLUTIONS: [(&str, &str); 10] = [
    ("HumanEval_23_strlen", "    string.chars().count() as isize\n"),
    (
        "HumanEval_89_encrypt",
        "fn encrypt(s: String) -> String {\n    s.chars()\n        .map(|c| if c.is_ascii_lowercase() { (b'a' + (c as u8 - b'a' + 4) % 26) as char } else { c })\n        .collect()\n}\n",
    ),
    ("HumanEval_85_add", "    lst.iter().skip(1).step_by(2).filter(|x| *x % 2 == 0).sum()\n}"),
    (
        "HumanEval_55_fib",
        "fn fib(n: isize) -> isize {\n    let (mut a, mut b) = (0, 1);\n    for _ in 0..n {\n        (a, b) = (b, a + b);\n    }\n    a\n}\n\nfn main() {\n    println!(\"{}\", fib(10));\n}\n",
    ),
    (
        "HumanEval_107_even_odd_palindrome",
        "    let mut both = (0, 0);\n    for i in 1..=n {\n        let text = i.to_string();\n        if text.chars().rev().collect::<String>() == text {\n            if i % 2 == 0 { both.0 += 1 } else { both.1 += 1 }\n        }\n    }\n    both\n",
    ),
    (
        "HumanEval_111_histogram",
        "    let mut counts: HashMap<String, isize> = HashMap::new();\n    for word in test.split(' ').filter(|word| !word.is_empty()) {\n        *counts.entry(word.to_string()).or_insert(0) += 1;\n    }\n    let most = counts.values().copied().max().unwrap_or(0);\n    counts.into_iter().filter(|(_, n)| *n == most).collect()\n",
    ),
    (
        "HumanEval_90_next_smallest",
        "    let mut sorted = lst.clone();\n    sorted.sort();\n    sorted.dedup();\n    sorted.get(1).copied()\n",
    ),
    (
        "HumanEval_136_largest_smallest_integers",
        "    (lst.iter().filter(|x| **x < 0).max().copied(), lst.iter().filter(|x| **x > 0).min().copied())\n",
    ),
    (
        "HumanEval_56_correct_bracketing",
        "    // A '{' in a comment and in \"{\" is none.\n    let mut depth = 0;\n    for c in brackets.chars() {\n        depth += if c == '<' { 1 } else { -1 };\n        if depth < 0 {\n            return false;\n        }\n    }\n    depth == 0\n",
    ),
    ("HumanEval_2_truncate_number", "    number.fract()\n"),
];

#[test]
fn rust_of_multipl_e() {
    let Some(path) = data("humaneval/humaneval-rs.jsonl") else { return };
    if std::process::Command::new("rustc").arg("--version").output().is_err() {
        relign_core::skipped!("there is no rustc");
        return;
    }
    let mut asked = Vec::new();
    for row in rows(&std::fs::read_to_string(path).unwrap()) {
        let of = |field: &str| row[field].as_str().unwrap();
        let (name, prompt) = (of("name"), of("prompt"));
        let entry_point = name.splitn(3, '_').nth(2).unwrap();
        let task =
            task(&[("language", "rust"), ("prefix", prompt), ("entry_point", entry_point), ("tests", of("tests"))]);
        let mut ask = |answer: String, verdict| asked.push((name.to_owned(), task.clone(), answer, verdict));
        ask("    unimplemented!()\n".to_owned(), Verdict::Wrong);
        if let Some((_, solution)) = SOLUTIONS.iter().find(|(of, _)| *of == name) {
            ask((*solution).to_owned(), Verdict::Correct);
            // Ending well before the asserts, and asserts of one's own.
            ask("    std::process::exit(0)\n".to_owned(), Verdict::Wrong);
            ask(
                format!(
                    "```rust\nmacro_rules! assert_eq {{ ($($t:tt)*) => {{}} }}\n{prompt}    loop {{ std::process::exit(0) }}\n}}\n```"
                ),
                Verdict::Wrong,
            );
        }
    }
    assert_eq!(asked.len(), 156 + 3 * SOLUTIONS.len());
    let surprises = surprises(&asked);
    assert!(surprises.is_empty(), "{} of {}:\n{}", surprises.len(), asked.len(), surprises.join("\n\n"));
}
