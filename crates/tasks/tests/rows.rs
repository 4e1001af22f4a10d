//! Rows from files of every kind, against files that Python wrote; splits, filters, bad rows, memory.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use relign_core::{Environment, Score, Section, Split, Task, Transcript, Verdict};
use relign_tasks::data::{Fetched, set_hub};
use relign_tasks::{REWARDS, environment};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The environment `dataset` with these settings.
fn dataset(mut settings: Value) -> Box<dyn Environment> {
    settings["name"] = "dataset".into();
    environment(&serde_json::from_value::<Section>(settings).unwrap()).unwrap()
}

fn refused(mut settings: Value) -> String {
    settings["name"] = "dataset".into();
    environment(&serde_json::from_value::<Section>(settings).unwrap()).err().expect("an error").to_string()
}

fn all(environment: &dyn Environment, split: Split) -> Vec<Task> {
    let length = environment.len(split).unwrap_or_else(|| panic!("{}", environment.task(split, 0).unwrap_err()));
    (0..length).map(|index| environment.task(split, index).unwrap()).collect()
}

fn error(settings: Value) -> String {
    dataset(settings).task(Split::Train, 0).unwrap_err()
}

#[test]
fn every_kind_of_file_gives_the_rows_that_python_wrote() {
    let everything = |name: &str, whole: bool| {
        let mut settings = json!({
            "path": fixture(name), "held_out": 0.4, "prompt": "{{ question }} {{ level }}", "facts": {"level": "level"},
        });
        if whole {
            settings["facts"] = json!({"level": "level", "share": "share", "even": "flags.even", "tags": "flags.tags"});
        }
        let environment = dataset(settings);
        let tasks: Vec<Task> = [Split::Train, Split::Eval].iter().flat_map(|s| all(&*environment, *s)).collect();
        assert_eq!(tasks.len(), 50, "{name}");
        tasks
    };
    let lines = std::fs::read_to_string(fixture("rows.jsonl")).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reference = everything("rows.jsonl", true);
    for task in &reference {
        let row = rows.iter().find(|row| row["answer"] == task.answer.as_str()).unwrap();
        let text = format!("{} {}", row["question"].as_str().unwrap(), row["level"]);
        assert_eq!(task.messages[0].content, text);
        assert_eq!(serde_json::from_str::<Value>(&task.facts["tags"]).unwrap(), row["flags"]["tags"]);
        assert_eq!(task.facts["even"], row["flags"]["even"].to_string());
        assert_eq!(task.facts["share"].parse::<f64>().unwrap(), row["share"].as_f64().unwrap());
    }
    for name in [
        "rows.jsonl.gz",
        "rows.json",
        "rows-snappy.parquet",
        "rows-zstd.parquet",
        "rows-gzip.parquet",
        "rows-brotli.parquet",
        "rows-plain.parquet",
    ] {
        assert_eq!(everything(name, true), reference, "{name}");
    }
    let csv = everything("rows.csv", false);
    for (csv, task) in csv.iter().zip(&reference) {
        assert_eq!((&csv.messages, &csv.answer), (&task.messages, &task.answer));
    }
}

#[test]
fn a_json_file_may_be_a_list_or_an_object_of_rows_or_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.json");
    for text in [
        r#"[{"question": "a", "answer": "1"}, {"question": "b", "answer": "2"}]"#,
        "{\"x\": {\"question\": \"a\", \"answer\": \"1\"},\n \"y\": {\"question\": \"b\", \"answer\": \"2\"}}",
        "{\"question\": \"a\", \"answer\": \"1\"}\n{\"question\": \"b\", \"answer\": \"2\"}\n",
        r#"{"note": "n", "rows": [{"question": "a", "answer": "1"}, {"question": "b", "answer": "2"}]}"#,
    ] {
        std::fs::write(&file, text).unwrap();
        let environment = dataset(json!({"path": file, "held_out": 1e-9}));
        let answers: Vec<String> = all(&*environment, Split::Train).into_iter().map(|task| task.answer).collect();
        assert_eq!(answers, ["1", "2"], "{text}");
    }
    std::fs::write(&file, r#"{"x": {"answer": "1"}}"#).unwrap();
    let environment = dataset(json!({"path": file, "prompt": "{{ _key }}", "held_out": 1e-9}));
    assert_eq!(environment.task(Split::Train, 0).unwrap().messages[0].content, "x");
}

#[test]
fn a_bad_row_is_named_with_file_and_line_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = r#"{"question": "a", "answer": "1"}"#;
    for (name, text, why) in [
        ("a.jsonl", format!("{good}\n\n{{\"question\": 1\n"), "a.jsonl:3: expected an object, got: EOF"),
        ("b.jsonl", format!("{good}\n[1]\n"), "b.jsonl:2: expected an object, got a list"),
        (
            "c.jsonl",
            format!("{good}\n{{\"answer\": \"1\"}}\n"),
            "c.jsonl:2: a field that the row lacks: `question`; it has `answer`",
        ),
        (
            "d.jsonl",
            format!("{good}\n{{\"question\": \"1\"}}\n"),
            "d.jsonl:2: answer: no value for `answer`; the row has `question`",
        ),
        (
            "e.jsonl",
            format!("{good}\n{{\"question\": \"b\", \"answer\": null}}\n"),
            "e.jsonl:2: answer: expected a value",
        ),
        ("f.json", format!("[{good}, 5]"), "f.json: row 2: expected an object, got a number"),
        ("g.json", format!("[{good}, "), "g.json: expected JSON, got: EOF"),
        ("h.json", "5".to_owned(), "h.json: expected JSON, got: expected a list or an object of rows, got a number"),
        ("i.csv", "question,answer\na,1\n\"b\nb\",2\nc\n".to_owned(), "i.csv:5: expected 2 values, got 1"),
        ("j.csv", "question,question\n".to_owned(), "j.csv: 1: expected column names that differ"),
        ("k.parquet", "PAR1 none".to_owned(), "k.parquet: expected a Parquet file"),
        ("l.jsonl.gz", good.to_owned(), "l.jsonl.gz: "),
        ("m.jsonl", "\n".to_owned(), "m.jsonl: expected at least one row, got none"),
        ("n.txt", good.to_owned(), "n.txt: expected a name that ends in"),
    ] {
        let path = write(name, text.as_bytes());
        let error = error(json!({"path": path}));
        assert!(error.contains(why), "{name}: {error}");
    }
    assert!(error(json!({"path": folder.path().join("none")})).contains("got nothing there"));
    assert!(error(json!({"path": "hf:a"})).contains("expected hf:org/name"));

    // Those that are put up with are counted.
    let rows: String = (0..20).map(|n| format!("{{\"question\": \"{n}\", \"answer\": \"{n}\"}}\n")).collect();
    let path = write("mixed.jsonl", format!("{rows}5\n{rows}[]\n").as_bytes());
    let error = error(json!({"path": path, "bad_rows": 1}));
    assert!(
        error.contains("mixed.jsonl:21: ") && error.contains("mixed.jsonl:42: ") && error.contains("`bad_rows = 2`")
    );
    let environment = dataset(json!({"path": path, "bad_rows": 2}));
    assert_eq!(all(&*environment, Split::Train).len() + all(&*environment, Split::Eval).len(), 40);
    let data = environment.data();
    assert_eq!((data.len(), data[0].rows, data[0].bad_rows), (1, 42, 2));
    let sum = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
    assert_eq!(data[0].sha256, String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap());
}

#[test]
fn settings_are_checked() {
    for (settings, why) in [
        (json!({}), "environment.path: expected a file"),
        (json!({"path": "x", "paths": 1}), "unknown key `paths`"),
        (json!({"path": "x", "held_out": 1.0}), "environment.held_out: expected a number above 0 and below 1, got 1"),
        (json!({"path": "x", "held_out": 0.1, "eval_path": "y"}), "expected either"),
        (json!({"path": "x", "prompt": "{{ a"}), "environment.prompt: expected a Jinja template"),
        (json!({"path": "x", "filter": "level >"}), "environment.filter: expected an expression"),
        (json!({"path": "x", "fields": {"a": "b("}}), "environment.fields.a: expected an expression"),
        (json!({"path": "x", "reward": {"name": "exakt"}}), "environment.reward.name: unknown reward `exakt`"),
        (
            json!({"path": "x", "reward": {"name": "f1", "least": 2}}),
            "environment.reward.least: expected 0 to 1, got 2",
        ),
    ] {
        assert!(refused(settings.clone()).contains(why), "{settings}: {}", refused(settings.clone()));
    }
}

#[test]
fn fields_filters_orders_and_limits() {
    let path = fixture("rows.jsonl");
    let base = json!({"path": path, "held_out": 0.3});
    let with = |more: Value| {
        let mut settings = base.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        dataset(settings)
    };
    let plain = with(json!({}));
    let questions = |environment: &dyn Environment, split| {
        all(environment, split).into_iter().map(|task| task.messages[0].content.clone()).collect::<Vec<_>>()
    };
    let (train, eval) = (questions(&*plain, Split::Train), questions(&*plain, Split::Eval));
    assert!((5..25).contains(&eval.len()), "{} held out of 50", eval.len());

    let filtered = with(json!({"filter": "level >= 3 and flags.even"}));
    let kept = questions(&*filtered, Split::Train);
    assert!(!kept.is_empty() && kept.len() < train.len() && kept.iter().all(|q| train.contains(q)));

    let shuffled = with(json!({"shuffle": 3}));
    let order = questions(&*shuffled, Split::Train);
    assert_ne!(order, train);
    assert_eq!(order.iter().collect::<HashSet<_>>(), train.iter().collect());
    assert_eq!(order, questions(&*with(json!({"shuffle": 3})), Split::Train));
    assert_ne!(order, questions(&*with(json!({"shuffle": 4})), Split::Train));
    assert_eq!(questions(&*with(json!({"shuffle": 3, "limit": 4})), Split::Train), order[..4]);

    let fields = with(json!({
        "fields": {"a_first": "question.split(' ')[2]", "b_twice": "a_first ~ '/' ~ answer"},
        "prompt": "{{ b_twice }}", "system": "Be brief.", "instruction": "Now.", "key": "question",
    }));
    let task = fields.task(Split::Train, 0).unwrap();
    let n: u64 = task.answer.parse::<u64>().unwrap() / 2;
    assert_eq!(task.messages[0].content, "Be brief.");
    assert_eq!(task.messages[1].content, format!("{n}/{}\n\nNow.", 2 * n));
    // The key keeps every row in its split, whatever is made of it.
    let answers =
        |environment: &dyn Environment| all(environment, Split::Eval).into_iter().map(|t| t.answer).collect::<Vec<_>>();
    assert_eq!(answers(&*fields), answers(&*plain));
    let nothing = with(json!({"filter": "level > 9"})).task(Split::Train, 0).unwrap_err();
    assert!(nothing.contains("at least one row that meets `level > 9`"), "{nothing}");
}

#[test]
fn splits_come_from_names_or_from_a_hash_that_more_rows_do_not_move() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |range: std::ops::Range<u32>| -> String {
        range.map(|n| format!("{{\"question\": \"Q {n}?\", \"answer\": \"{n}\"}}\n")).collect()
    };
    let write = |name: &str, range| std::fs::write(folder.path().join(name), rows(range)).unwrap();
    write("train-00000-of-00002.jsonl", 0..30);
    write("train-00001-of-00002.jsonl", 30..60);
    write("validation.jsonl", 60..70);
    write("test.jsonl", 55..80);
    let environment = dataset(json!({"path": folder.path()}));
    let answers = |e: &dyn Environment, split| all(e, split).into_iter().map(|t| t.answer).collect::<HashSet<_>>();
    let numbers = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<HashSet<_>>();
    // What is tested is not trained on, and validation is neither.
    assert_eq!(answers(&*environment, Split::Train), numbers(0..55));
    assert_eq!(answers(&*environment, Split::Eval), numbers(55..80));
    assert_eq!(environment.data().len(), 3);

    let few = folder.path().join("rows.jsonl");
    std::fs::write(&few, rows(0..500)).unwrap();
    let before = dataset(json!({"path": few, "held_out": 0.2}));
    let held = answers(&*before, Split::Eval);
    assert!((70..130).contains(&held.len()), "{} of 500", held.len());
    let mut file = std::fs::OpenOptions::new().append(true).open(&few).unwrap();
    // More rows, and the old ones again in other spaces and letters.
    file.write_all((rows(500..600) + &rows(0..500).replace("Q ", "q  ")).as_bytes()).unwrap();
    let after = dataset(json!({"path": few, "held_out": 0.2}));
    assert!(held.is_subset(&answers(&*after, Split::Eval)));
    assert_eq!(answers(&*after, Split::Train).intersection(&answers(&*after, Split::Eval)).count(), 0);
}

#[test]
fn data_sets_of_the_hub_come_through_whoever_fetches_them() {
    set_hub(Box::new(|id, choose| {
        let names =
            ["README.md", "main/train-00000-of-00001.parquet", "main/test-00000-of-00001.parquet", "other/train.csv"];
        let chosen = choose(&names.map(str::to_owned))?;
        let files = chosen.into_iter().map(|name| {
            let local = fixture(if name.contains("train") { "rows-snappy.parquet" } else { "rows-zstd.parquet" });
            (name, local)
        });
        Ok(Fetched { commit: id.revision.clone().unwrap_or_else(|| "c0ffee".to_owned()), files: files.collect() })
    }));
    let environment = dataset(json!({"path": "hf:org/name@v1:main"}));
    // Both files hold the same rows, so that nothing is left to train on.
    assert_eq!((environment.len(Split::Train), environment.len(Split::Eval)), (Some(0), Some(50)));
    let names: Vec<String> = environment.data().into_iter().map(|file| file.name).collect();
    assert_eq!(
        names,
        ["hf:org/name@v1/main/test-00000-of-00001.parquet", "hf:org/name@v1/main/train-00000-of-00001.parquet"]
    );
    assert!(
        error(json!({"path": "hf:org/name"}))
            .contains("expected :config behind its name, there are several: main, other")
    );
}

/// Peak memory of this process in MB, as Linux counts it.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let Some(before) = peak() else {
        relign_core::skipped!("memory of large files: no /proc/self/status here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let long = "word ".repeat(4000);
    for n in 0..20_000 {
        writeln!(file, "{{\"question\": \"What is {n}?\", \"answer\": \"{n}\", \"context\": \"{long}\"}}").unwrap();
    }
    file.flush().unwrap();
    let size = std::fs::metadata(&path).unwrap().len() as f64 / 1e6;
    let environment = dataset(json!({"path": path, "shuffle": 1}));
    assert_eq!(environment.len(Split::Train).unwrap() + environment.len(Split::Eval).unwrap(), 20_000);
    let task = environment.task(Split::Train, 777).unwrap();
    assert_eq!(task.messages[0].content, format!("What is {}?", task.answer));
    let grown = peak().unwrap() - before;
    assert!(size > 400.0 && grown < 60.0, "{grown:.0} MB more for a file of {size:.0} MB");
}

#[test]
fn f1_is_what_the_published_script_says() {
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(fixture("f1.json")).unwrap()).unwrap();
    let reward = (REWARDS.iter().find(|entry| entry.name == "f1").unwrap().build)(json!({"least": 0.0})).unwrap();
    for case in &cases {
        let (answer, reference) = (case["answer"].as_str().unwrap(), case["reference"].as_str().unwrap());
        let expected = case["f1"].as_f64().unwrap();
        let got = relign_tasks::rewards::f1::f1(answer, reference);
        assert!((got - expected).abs() < 1e-6, "`{answer}` `{reference}`: {got}, the script says {expected}");
        if answer.trim().is_empty() {
            continue; // A reward calls silence silence.
        }
        let task = Task { answer: reference.to_owned(), ..Task::default() };
        let Score { value, verdict, .. } = reward.score(&task, &Transcript::of(answer, true));
        assert!((value - expected).abs() < 1e-6, "`{answer}` `{reference}`");
        assert_eq!(verdict == Verdict::Correct, case["same"].as_bool().unwrap(), "`{answer}` `{reference}`");
    }
    assert!(cases.len() > 100);
}
