//! The built-in data sets as a user without local files gets them: from the hub's repositories.
//!
//! `fixtures/hub` holds the trees of files that those repositories have and their fields, with rows made up by `make_hub.py`.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::path::{Path, PathBuf};

use relign_core::{Environment, Section, Split, Verdict};
use relign_tasks::data::{Fetched, HubId, set_hub};
use relign_tasks::{ENVIRONMENTS, environment};
use serde_json::{Value, json};

fn trees() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub")
}

/// All files under `folder`, seen from `root`.
fn list(root: &Path, folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(list(root, &path));
        } else {
            names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    names
}

fn fetch(id: &HubId, choose: &dyn Fn(&[String]) -> Result<Vec<String>, String>) -> Result<Fetched, String> {
    let revision = id.revision.as_deref().unwrap_or("main").replace('/', "--");
    let tree = trees().join(&id.name).join(revision);
    if !tree.is_dir() {
        return Err(format!("{id}: no such repository or revision"));
    }
    let files = choose(&list(&tree, &tree))?.into_iter().map(|name| (name.clone(), tree.join(name))).collect();
    Ok(Fetched { commit: "c0ffee".to_owned(), files })
}

/// Nothing local: the folder that the tests run in has no data beside it, and no variable names any.
fn from_hub(mut settings: Value, name: &str) -> Box<dyn Environment> {
    set_hub(Box::new(fetch));
    settings["name"] = name.into();
    let section: Section = serde_json::from_value(settings).unwrap();
    environment(&section).unwrap()
}

/// Data set, tasks to train on and held out, the first held-out question and its answer.
const EXPECTED: [(&str, u64, u64, &str, &str); 12] = [
    ("aime24", 0, 3, "0 squared?", "0"),
    ("amc23", 0, 3, "0 cubed?", "0.0"),
    ("bbh", 0, 27, "a task?", "Yes"),
    ("finqa", 3, 3, "Context: valid sold 1.\nQuestion: how much?\nAnswer:", "1"),
    ("gsm8k", 5, 5, "test: 0 pens and 0 more?", "0"),
    ("humaneval", 0, 2, "def add0(x):", "add0"),
    ("humaneval-rs", 0, 1, "fn id(x: isize) -> isize {", "id"),
    ("math", 5, 5, "test: half of 0?", "\\frac{0}{2}"),
    ("math500", 0, 5, "test: half of 0?", "\\frac{0}{2}"),
    ("mbpp", 2, 2, "Write a function that adds 11.", "assert f(1) == 12"),
    ("medqa", 4, 4, "test: which letter is number 0?\n\nA. A\nB. B", "A"),
    ("pubmedqa", 3, 2, "It was tried again.\n\nQuestion: Does 7482275?", "yes"),
];

#[test]
fn every_built_in_data_set_comes_from_the_hub() {
    if std::env::var_os("RELIGN_DATA").is_some() || Path::new("../shared/data").is_dir() {
        relign_core::skipped!("data sets of the hub: local ones come before them here");
        return;
    }
    let of_files = |entry: &&relign_core::Entry<dyn Environment>| (entry.schema)().get("x-data-set").is_some();
    let mut names: Vec<&str> = ENVIRONMENTS.iter().filter(of_files).map(|entry| entry.name).collect();
    names.sort_unstable();
    assert_eq!(names, EXPECTED.map(|expected| expected.0));
    for (name, train, eval, question, answer) in EXPECTED {
        let environment = from_hub(json!({}), name);
        let lengths = [Split::Train, Split::Eval].map(|split| environment.len(split));
        assert_eq!(lengths, [Some(train), Some(eval)], "{name}: {:?}", environment.task(Split::Eval, 0).err());
        let task = environment.task(Split::Eval, 0).unwrap();
        let asked = &task.messages.last().unwrap().content;
        assert!(asked.contains(question), "{name}: {asked}");
        assert_eq!(task.answer, answer, "{name}");
        // Programs are judged in a sandbox, which other tests do with real rows.
        if !task.facts.contains_key("tests") {
            let score = environment.score(&task, &environment.oracle(&task));
            assert_eq!(score.verdict, Verdict::Correct, "{name}: {}", score.reason);
        }
        for file in environment.data() {
            assert!(file.name.starts_with("hf:") && file.name.contains("@c0ffee/"), "{name}: {}", file.name);
        }
    }
}

#[test]
fn one_task_of_many_is_one_folder_there() {
    let environment =
        from_hub(json!({"task": "navigate", "path": "hf:lukaemon/bbh@refs/convert/parquet:navigate"}), "bbh");
    assert_eq!(environment.len(Split::Eval), Some(1));
    assert!(environment.task(Split::Eval, 0).unwrap().messages[0].content.starts_with("Is navigate a task?"));
}

#[test]
fn a_script_is_no_data() {
    let environment = from_hub(json!({"path": "hf:lukaemon/bbh:*"}), "bbh");
    let error = environment.task(Split::Eval, 0).unwrap_err().to_string();
    assert!(error.contains("refs/convert/parquet"), "{error}");
}
