//! Reward functions in Python: how their exceptions are passed on, their columns, and the end of all that they start.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "python/common.rs"]
mod common;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{alive, failure, group, place, reward, reward_of, task, values, wait_until};
use relign_core::Split;
use serde_json::json;

#[test]
fn an_exception_comes_with_its_type_its_whole_message_and_its_line() {
    let why = |function: &str| {
        let error = failure(&reward(function, json!({})).score_group(&task(), &group(&["a"])));
        error.split_once(&format!("rewards.py:{function}: ")).unwrap().1.to_owned()
    };
    let lines = why("lines");
    assert!(lines.starts_with("ValueError: the first line\n  the second line\nthe last line (/"), "{lines}");
    assert!(lines.contains("rewards.py, line ") && lines.contains(", in lines: raise ValueError("), "{lines}");
    let library = why("library");
    assert!(library.starts_with("json.decoder.JSONDecodeError: Expecting property name"), "{library}");
    assert!(library.contains("decoder.py, line ") && library.contains("in library: json.loads(\"{\"))"), "{library}");
    let again = why("again");
    assert!(
        again.starts_with("RuntimeError: no such entry (") && again.ends_with("; before it: KeyError: 'key'"),
        "{again}"
    );
    assert!(why("surrogate").starts_with("ValueError: half a pair: \\ud800 ("), "{}", why("surrogate"));
    assert!(why("empty").starts_with("AssertionError ("), "{}", why("empty"));
    let long = why("endless_message");
    assert!(long.len() < 5000 && long.contains("... (996012 more characters) ("), "{long}");
    let later = why("later_raises");
    assert!(
        later.starts_with("ValueError: later (/") && later.ends_with("in later_raises: raise ValueError(\"later\"))"),
        "{later}"
    );
    let chain = why("chain");
    assert!(
        chain.contains("; before it: IndexError: list index out of range; before it: KeyError: 'first'"),
        "{chain}"
    );
    let several = why("several");
    assert!(
        several.contains("two (2 sub-exceptions)") && several.contains("; in it: ValueError: a; in it: KeyError: 'b'"),
        "{several}"
    );
    let aborts = why("aborts");
    assert!(aborts.starts_with("the process ended: signal 6; it printed: line one\n  line two"), "{aborts}");
    let noted = why("noted");
    // Notes are a matter of Python 3.11.
    assert!(noted.starts_with("ValueError: what"), "{noted}");
    // A file that cannot be read as Python: where, and what stands there.
    let syntax = reward_of(&format!("python:{}:reward", place("syntax.py")), json!({})).prepare().unwrap_err();
    assert!(syntax.contains("syntax.py\", line ") && syntax.contains("SyntaxError: "), "{syntax}");
}

#[test]
fn columns_have_their_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let row = format!(
        r#"{{"question": "q", "answer": {}, "level": 3, "share": 0.5, "even": true, "nothing": null, "tags": ["a", 2, null], "sub": {{"x": [1.5]}}, "prompt": "p", "completion": "c"}}"#,
        2_u128.pow(70)
    );
    std::fs::write(&path, row).unwrap();
    let section = json!({"name": "dataset", "path": path, "held_out": 1e-12, "fields": {"half": "answer // 2"}});
    let environment = relign_tasks::environment(&serde_json::from_value(section).unwrap()).unwrap();
    let task = environment.task(Split::Train, 0).unwrap();
    for score in reward("typed", json!({})).score_group(&task, &group(&["a", "b"])) {
        assert_eq!((score.value, score.reason.as_str()), (1.0, ""));
    }
    // They stand in no record.
    assert!(!serde_json::to_string(&task).unwrap().contains("columns"));
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
fn daemons_end_with_their_worker() {
    for answer in ["fine", "hang", "fall"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = folder.path().join("daemons.py");
        let source = format!(
            "import os\nos.environ['RELIGN_TEST_PIDS'] = {:?}\nimport sys\nsys.path.insert(0, {:?})\nfrom rewards import daemons\n",
            file.display().to_string(),
            place(""),
        );
        std::fs::write(&script, source).unwrap();
        let reward = reward_of(&format!("python:{}:daemons", script.display()), json!({"seconds": 2, "workers": 1}));
        let scores = reward.score_group(&task(), &group(&[answer]));
        let pids = std::fs::read_to_string(&file).unwrap();
        assert_eq!(pids.split(' ').count(), 3, "{pids}");
        if answer == "fine" {
            assert!(pids.split(' ').all(alive), "{pids}");
            drop(reward);
        } else {
            let why = failure(&scores);
            assert!(why.contains(if answer == "hang" { "expected an answer within 2s" } else { "signal 11" }), "{why}");
        }
        wait_until(|| !pids.split(' ').any(alive));
    }
}

/// A program in RELIGN's place: it starts a worker, has it work and waits for its own end.
const STARTER: &str = r#"
import json, os, subprocess, sys, time
worker, script = sys.argv[1:]
process = subprocess.Popen([sys.executable, "-c", open(worker).read(), str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
loading = {"where": script, "is_file": True, "name": "daemons", "arguments": None, "is_environment": False, "held_out": None}
call = {"do": "score", "prompts": ["p"], "completions": [[{"role": "assistant", "content": "fine"}]], "completion_ids": None,
        "finished": [True], "columns": {}}
for line in (loading, call):
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()
print("ready", flush=True)
time.sleep(3600)
"#;

#[test]
fn daemons_end_with_relign_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/python/worker.py");
    let mut command = Command::new(relign_tasks::python::interpreter());
    command.args(["-c", STARTER]).args([worker, place("rewards.py").into()]).env("RELIGN_TEST_PIDS", &file);
    let mut starter = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 5];
    starter.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let pids = std::fs::read_to_string(&file).unwrap();
    assert!(pids.split(' ').count() == 3 && pids.split(' ').all(alive), "{pids}");
    // No handler of its own can see to it.
    starter.kill().unwrap();
    starter.wait().unwrap();
    wait_until(|| !pids.split(' ').any(alive));
}
