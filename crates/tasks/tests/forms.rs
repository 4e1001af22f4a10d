//! The forms that rows are found in: numbers of all types, columns, marks, folders as the hub and pandas write them.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::path::{Path, PathBuf};

use relign_core::{Environment, Section, Split, Task, Transcript, Verdict};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn dataset(mut settings: Value) -> Box<dyn Environment> {
    settings["name"] = "dataset".into();
    let section: Section = serde_json::from_value(settings).unwrap();
    relign_tasks::environment(&section).unwrap()
}

/// All tasks, none held out.
fn tasks(mut settings: Value) -> Result<Vec<Task>, String> {
    settings["held_out"] = 1e-12.into();
    let environment = dataset(settings);
    let first = environment.task(Split::Train, 0)?;
    let rest = 1..environment.len(Split::Train).unwrap();
    Ok(std::iter::once(first).chain(rest.map(|at| environment.task(Split::Train, at).unwrap())).collect())
}

/// Questions and answers.
fn pairs(settings: Value) -> Result<Vec<(String, String)>, String> {
    Ok(tasks(settings)?.into_iter().map(|task| (task.messages[0].content.clone(), task.answer)).collect())
}

fn write(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn whole_numbers_are_exact_from_every_kind_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let nines = "9".repeat(50);
    for number in
        ["18446744073709551615", "18446744073709551616", "-9223372036854775809", "1180591620717411303424", &nines]
    {
        let row = format!("{{\"question\": \"q\", \"answer\": {number}, \"list\": [{number}]}}");
        for (name, text) in [
            ("a.jsonl", row.clone()),
            ("a.json", format!("[{row}]")),
            ("b.json", format!("{{\"question\": [\"q\"], \"answer\": [{number}], \"list\": [[{number}]]}}")),
            ("a.csv", format!("question,answer,list\nq,{number},[{number}]\n")),
        ] {
            let path = write(&folder, name, text);
            let settings = json!({"path": path, "prompt": "{{ question }} {{ answer }}", "facts": {"list": "list"},
                "reward": {"name": "final_number"}, "held_out": 1e-12});
            let task = &tasks(settings.clone()).unwrap()[0];
            assert_eq!(task.messages[0].content, format!("q {number}"), "{name}");
            assert_eq!((task.answer.as_str(), task.facts["list"].as_str()), (number, format!("[{number}]").as_str()));
            if name != "a.csv" {
                assert_eq!(
                    (task.columns["answer"].get(), task.columns["list"].get()),
                    (number, format!("[{number}]").as_str())
                );
            }
            let environment = dataset(settings);
            let verdict = |answer: String| environment.score(task, &Transcript::of(answer, true)).verdict;
            assert_eq!(verdict(format!("#### {number}")), Verdict::Correct, "{name} {number}");
            let other = format!("{}{}", &number[..number.len() - 1], if number.ends_with('7') { 8 } else { 7 });
            assert_eq!(verdict(format!("#### {other}")), Verdict::Wrong, "{name} {number}");
        }
    }
    let path = write(&folder, "c.jsonl", format!("{{\"question\": \"q\", \"answer\": -{nines}}}\n"));
    let error = tasks(json!({"path": path, "filter": "answer > 0"})).unwrap_err();
    assert!(error.contains("`answer > 0`: expected numbers of at most 38 digits to compare"), "{error}");
}

#[test]
fn numbers_of_parquet_keep_their_types_and_digits() {
    let tasks = tasks(json!({"path": fixture("numbers.parquet")})).unwrap();
    let column = |task: usize, name: &str| tasks[task].columns[name].get().to_owned();
    let two_70 = 2_u128.pow(70).to_string();
    for (name, first, second) in [
        ("answer", "18446744073709551615", "7"),
        ("whole", two_70.as_str(), &format!("-{two_70}")),
        ("wide", &format!("1{}1", "0".repeat(59)), "null"),
        ("price", "1.5", "-0.05"),
        ("fraction", "0.1234567890123456789", "1.0"),
        ("single", "0.1", "10000000000.0"),
        ("half", "0.1", "3.0"),
        ("list", "[0.1,null]", "[]"),
        ("yes", "true", "null"),
    ] {
        assert_eq!((column(0, name).as_str(), column(1, name).as_str()), (first, second), "{name}");
    }
    assert_eq!(tasks[0].answer, "18446744073709551615");
}

#[test]
fn documents_by_rows_and_by_columns() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        r#"{"question": ["a", "b"], "answer": ["1", "2"]}"#,
        r#"{"question": {"0": "a", "1": "b"}, "answer": {"0": "1", "1": "2"}}"#,
        r#"{"question": {"7": "a", "3": "b"}, "answer": {"7": "1", "3": "2"}}"#,
        r#"{"columns": ["question", "answer"], "index": [0, 1], "data": [["a", "1"], ["b", "2"]]}"#,
        r#"{"columns": ["question", "answer"], "data": [["a", 1], ["b", 2]]}"#,
        r#"{"question": ["a", "b"], "answer": [1, 2], "meta": [{"x": 1}, {"x": 2}]}"#,
        r#"{"question": ["a", "b"], "answer": [1, 2], "tags": [[], ["x"]]}"#,
        r#"{"schema": {"fields": []}, "data": [{"question": "a", "answer": 1}, {"question": "b", "answer": 2}]}"#,
        r#"{"1": {"question": "a", "answer": 1}, "2": {"question": "b", "answer": 2}}"#,
        r#"{"train": [{"question": "a", "answer": 1}], "test": [{"question": "b", "answer": 2}]}"#,
    ] {
        for mark in ["", "\u{feff}"] {
            let path = write(&folder, "rows.json", format!("{mark}{text}\n"));
            let expected = [("a", "1"), ("b", "2")].map(|(q, a)| (q.to_owned(), a.to_owned()));
            assert_eq!(pairs(json!({"path": path})).as_deref(), Ok(&expected[..]), "{text}");
        }
    }
    for (text, why) in [
        (r#"{"question": ["a", "b"], "answer": ["1"]}"#, "got 2 values of `question` and 1 of `answer`"),
        (r#"{"columns": ["question", "answer"], "data": [["a"]]}"#, "row 1: expected 2 values, got 1"),
        (r#"{"rows": [{"question": "a", "answer": 1}, 5]}"#, "row 2: expected an object, got a number"),
        (r#"{"question": ["a"]} x"#, "expected JSON, got: trailing characters"),
        ("5", "expected JSON, got: "),
    ] {
        let error = pairs(json!({"path": write(&folder, "rows.json", text)})).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let path = write(&folder, "rows.json", r#"{"question": "a", "answer": 18446744073709551616}"#);
    assert_eq!(pairs(json!({"path": path})).unwrap(), [("a".to_owned(), "18446744073709551616".to_owned())]);
    let path = write(&folder, "rows.json", r#"{"answer": {"0": "1"}}"#);
    assert_eq!(pairs(json!({"path": path, "prompt": "{{ _key }}"})).unwrap()[0].0, "0");
}

#[test]
fn what_pandas_writes_with_its_index() {
    for name in ["index.csv", "index.parquet", "index.json", "index-split.json", "index-index.json", "index-table.json"]
    {
        let expected = [("q1", "4611686018427387905"), ("q2", "2")].map(|(q, a)| (q.to_owned(), a.to_owned()));
        assert_eq!(pairs(json!({"path": fixture(name)})).as_deref(), Ok(&expected[..]), "{name}");
    }
    let task = &tasks(json!({"path": fixture("index.csv")})).unwrap()[0];
    assert_eq!(task.columns["Unnamed: 0"].get(), "\"1\"");
}

#[test]
fn byte_order_marks_wherever_text_begins() {
    let folder = tempfile::tempdir().unwrap();
    let row = r#"{"question": "q", "answer": 1}"#;
    for (name, text) in [
        ("a.jsonl", format!("\u{feff}{row}\n\u{feff}{row}\n")),
        ("a.json", format!("\u{feff}[{row}, {row}]")),
        ("b.json", format!("\u{feff}{row}\n{row}\n")),
        ("a.csv", "\u{feff}question,answer\nq,1\nq,1\n".to_owned()),
        ("b.csv", "\u{feff}\"question\",\"answer\"\r\nq,1\r\nq,1\r\n".to_owned()),
    ] {
        let rows = pairs(json!({"path": write(&folder, name, text)})).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rows, [("q".to_owned(), "1".to_owned()), ("q".to_owned(), "1".to_owned())], "{name}");
    }
    for (name, bytes, why) in [
        ("c.csv", &b"\xff\xfeq\0,\0"[..], "expected UTF-8, got UTF-16"),
        ("c.jsonl", b"\xfe\xff\0{", "expected UTF-8, got UTF-16"),
        ("c.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    ] {
        let error = pairs(json!({"path": write(&folder, name, bytes)})).unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
    }
}

#[test]
fn a_null_that_a_text_would_show_is_a_bad_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        &folder,
        "a.jsonl",
        "{\"question\": null, \"answer\": \"a\", \"sub\": {\"x\": null}, \"list\": [\"a\", null]}\n",
    );
    for (prompt, field) in [
        ("{{ question }}", "question"),
        ("Q: {{ question|upper }}?", "question"),
        ("{{ 'Q: ' ~ question }}", "question"),
        ("{{ question|string|trim }}", "question"),
        ("{% set q = question %}{{ q }}", "question"),
        ("{{ sub.x }}", "sub.x"),
        ("{{ sub }}", "sub.x"),
        ("{{ list|join(', ') }}", "list"),
        ("{% for item in list %}{{ item }}{% endfor %}", "list"),
        ("None of these: {{ question }}", "question"),
    ] {
        let error = tasks(json!({"path": path, "prompt": prompt})).unwrap_err();
        assert!(error.contains(&format!("a.jsonl:1: expected a value for `{field}`, got null")), "{prompt}: {error}");
    }
    for (prompt, text) in [
        ("{% if question is none %}nothing{% else %}{{ question }}{% endif %}", "nothing"),
        ("None of {{ question|default('these', true) }}", "None of these"),
        ("{{ question or 'none' }}", "none"),
        ("{% if question %}{{ question }}{% endif %}None.", "None."),
        ("{{ answer }} none", "a none"),
    ] {
        assert_eq!(tasks(json!({"path": path, "prompt": prompt})).unwrap()[0].messages[0].content, text, "{prompt}");
    }
    for settings in [
        json!({"answer": "'It is ' ~ question"}),
        json!({"fields": {"asked": "'It is ' ~ question"}}),
        json!({"facts": {"hint": "question|string"}}),
        json!({"system": "You are {{ question }}."}),
    ] {
        let mut all = settings.clone();
        (all["path"], all["prompt"]) = (json!(path), json!("{{ answer }}"));
        let error = tasks(all).unwrap_err();
        assert!(error.contains("expected a value for `question`, got null"), "{settings}: {error}");
    }
}

#[test]
fn folders_as_repositories_of_the_hub() {
    let row = |question: &str| format!("{{\"question\": \"{question}\", \"answer\": 1}}\n");
    let front = "\u{feff}---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: 'data/a-*'}\n  - {split: test, path: 'data/b-*'}\n---\n";
    let several = "---\nconfigs:\n- config_name: en\n  data_files: en/*.jsonl\n- config_name: de\n  data_files: de/*.jsonl\n---\n";
    // Files, what follows the folder, and questions to train on and held out, or the error.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Result<(&'a [&'a str], &'a [&'a str]), &'a str>);
    let cases: [Case<'_>; 12] = [
        (
            &[
                ("README.md", "---\n---\n"),
                ("data/train-00000-of-00001.jsonl", "x"),
                ("data/test-00000-of-00001.jsonl", "y"),
            ],
            "",
            Ok((&["x"], &["y"])),
        ),
        (
            &[
                ("README.md", front),
                ("data/a-0.jsonl", "x"),
                ("data/b-0.jsonl", "y"),
                ("data/c.jsonl", "z"),
                ("extra.jsonl", "z"),
            ],
            "",
            Ok((&["x"], &["y"])),
        ),
        (
            &[("README.md", several), ("en/train.jsonl", "x"), ("en/test.jsonl", "y"), ("de/train.jsonl", "z")],
            ":en",
            Ok((&["x"], &["y"])),
        ),
        (
            &[("README.md", several), ("en/train.jsonl", "x"), ("de/train.jsonl", "z")],
            "",
            Err("README.md has several: en, de"),
        ),
        (
            &[("README.md", several), ("en/train.jsonl", "x"), ("de/train.jsonl", "z")],
            ":fr",
            Err("no configuration `fr`"),
        ),
        (&[("README.md", front), ("data/a-0.jsonl", "x")], "", Err("README.md names `data/b-*` for `default`")),
        (
            &[("main/train.jsonl", "x"), ("main/test.jsonl", "y"), ("other/train.jsonl", "z")],
            ":main",
            Ok((&["x"], &["y"])),
        ),
        (&[("train/0.jsonl", "x"), ("test/0.jsonl", "y")], "", Ok((&["x"], &["y"]))),
        (&[("train.jsonl", "x"), ("test.jsonl", "y"), ("old/train.jsonl", "z")], "", Ok((&["x"], &["y"]))),
        (
            &[
                ("train.jsonl", "x"),
                ("test.jsonl", "y"),
                ("._train.jsonl", "\0"),
                (".cache/a.jsonl", "\0"),
                ("dataset_infos.json", "z"),
            ],
            "",
            Ok((&["x"], &["y"])),
        ),
        (
            &[("train-00000-of-00003.jsonl", "x"), ("train-00002-of-00003.jsonl", "x")],
            "",
            Err("expected the 3 parts of train, got 2; missing: train-00001-of-00003.jsonl"),
        ),
        (&[("notes.txt", "x")], "", Err("expected files of JSON Lines")),
    ];
    for (files, config, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(&folder, name, if name.ends_with(".jsonl") { row(text) } else { (*text).to_owned() });
        }
        let environment = dataset(json!({"path": format!("{}{config}", folder.path().display())}));
        let asked = |split| -> Vec<String> {
            let question = |at| environment.task(split, at).unwrap().messages[0].content.clone();
            (0..environment.len(split).unwrap()).map(question).collect()
        };
        match expected {
            Ok((train, eval)) => {
                assert!(environment.len(Split::Train).is_some(), "{files:?}: {:?}", environment.task(Split::Train, 0));
                let got = (asked(Split::Train), asked(Split::Eval));
                let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
                assert_eq!(got, (words(train), words(eval)), "{files:?}");
            }
            Err(why) => {
                let error = environment.task(Split::Train, 0).unwrap_err();
                assert!(error.contains(why), "{files:?}: {error}");
            }
        }
    }
}

#[test]
fn a_built_in_data_set_from_a_copy_of_its_repository() {
    let path = fixture("hub/openai/gsm8k/main");
    let section: Section = serde_json::from_value(json!({"name": "gsm8k", "path": path})).unwrap();
    let environment = relign_tasks::environment(&section).unwrap();
    assert_eq!([Split::Train, Split::Eval].map(|split| environment.len(split)), [Some(5), Some(5)]);
}
