//! Benchmarks by the real binary: killed and gone on with, compared, shown.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn model() -> String {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama.gguf");
    fixture.to_str().unwrap().to_owned()
}

fn relign(call: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.args(call).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(call: &[&str]) -> Output {
    relign(call).output().unwrap()
}

#[track_caller]
fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A benchmark that takes a small model some seconds.
fn benchmark(folder: &Path, items: u64) -> String {
    named(folder, "sums", items)
}

fn named(folder: &Path, name: &str, items: u64) -> String {
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\nversion = 1\ndomain = \"procedural\"\nitems = {items}\nsamples = 2\nmetrics = [\"accuracy\", \"pass@2\"]\n\
         [environment]\nname = \"arithmetic\"\n[sampling]\ntemperature = 1.0\nmax_tokens = 48\n[[lenient]]\nname = \"final_number\"\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The logs in `folder`, sorted.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    files
}

/// The only log in `folder`.
fn log(folder: &Path) -> PathBuf {
    let mut files = logs(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn records(log: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    // The last line may be half a line.
    let whole = text.rfind('\n').map_or("", |at| &text[..=at]);
    let all = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}

#[test]
fn killed_at_any_moment_it_goes_on_and_the_result_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, model) = (benchmark(folder.path(), 300), model());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let start = |out: &Path| {
        relign(&["eval", &model, "--benchmark", &bench, "--dtype", "f32", "--json", "--out", out.to_str().unwrap()])
    };
    let go = |out: &Path| start(out).output().unwrap();
    done(&go(&whole));
    let mut kept = 0;
    for least in [1, 40, 150] {
        let mut child = start(&killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(120);
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            let there = killed.is_dir() && fs::read_dir(&killed).unwrap().count() > 0;
            if there && records(&log(&killed), "sample").len() >= least {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let now = records(&log(&killed), "sample").len();
        assert!(now >= kept, "{now} samples, {kept} were there before");
        kept = now;
    }
    let before = records(&log(&killed), "sample");
    done(&go(&killed));
    let (one, other) = (log(&whole), log(&killed));
    assert_eq!(one.file_name(), other.file_name());
    assert_eq!(records(&one, "end")[0]["content"], records(&other, "end")[0]["content"]);
    let after = records(&other, "sample");
    assert_eq!((after.len(), &after[..before.len()]), (600, &before[..]), "what was safe stays as it was");
    // Once more: nothing is asked, nothing is written.
    let bytes = fs::read(&other).unwrap();
    done(&go(&killed));
    assert_eq!(fs::read(&other).unwrap(), bytes);
}

#[test]
fn benchmarks_of_one_call_are_one_batch_and_a_kill_loses_nothing_of_any() {
    let folder = tempfile::tempdir().unwrap();
    let benches =
        [named(folder.path(), "few", 20), named(folder.path(), "many", 150), named(folder.path(), "more", 90)];
    let model = model();
    let start = |out: &Path| {
        let mut call = vec!["eval", &model, "--dtype", "f32", "--json", "--out", out.to_str().unwrap()];
        benches.iter().for_each(|bench| call.extend(["--benchmark", bench]));
        relign(&call)
    };
    let (whole, killed, alone) =
        (folder.path().join("whole"), folder.path().join("killed"), folder.path().join("alone"));
    let output = start(&whole).output().unwrap();
    done(&output);
    let told: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = told.iter().filter_map(|line| line["benchmark"].as_str()).collect();
    assert_eq!(names, ["few", "many", "more"], "in the order of the call, whichever ended first");
    assert!(told[3]["summary"].as_bool().unwrap() && told[3]["seconds"].as_f64().unwrap() > 0.0);
    // What is asked together is what is asked alone.
    for bench in &benches {
        done(&run(&["eval", &model, "--dtype", "f32", "--benchmark", bench, "--out", alone.to_str().unwrap()]));
    }
    let ends = |folder: &Path| -> Vec<Value> {
        logs(folder).iter().map(|log| records(log, "end")[0]["content"].clone()).collect()
    };
    assert_eq!((ends(&whole), logs(&whole).len()), (ends(&alone), 3));
    for least in [1, 100, 300] {
        let mut child = start(&killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(120);
        let samples = || -> usize {
            let files = if killed.is_dir() { logs(&killed) } else { Vec::new() };
            files.iter().map(|log| records(log, "sample").len()).sum()
        };
        while child.try_wait().unwrap().is_none() && Instant::now() < end && samples() < least {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let before: Vec<Vec<Value>> = logs(&killed).iter().map(|log| records(log, "sample")).collect();
    done(&start(&killed).output().unwrap());
    assert_eq!(ends(&killed), ends(&whole));
    for (log, before) in logs(&killed).iter().zip(before) {
        assert_eq!(records(log, "sample")[..before.len()], before[..], "what was safe stays as it was");
    }
}

#[test]
fn votes_are_counted_and_a_strategy_chooses_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let base = "name = \"NAME\"\nversion = 1\ndomain = \"d\"\nitems = 12\n[environment]\nname = \"arithmetic\"\n\
                [sampling]\ntemperature = 1.0\nmax_tokens = 24\n";
    let eval = |name: &str, head: &str, tail: &str| {
        let file = folder.path().join(format!("{name}.toml"));
        fs::write(&file, format!("{head}{}{tail}", base.replace("NAME", name))).unwrap();
        let out = folder.path().join(name).to_str().unwrap().to_owned();
        run(&["eval", &model, "--dtype", "f32", "--benchmark", file.to_str().unwrap(), "--out", &out, "--json"])
    };
    let output = eval("votes", "samples = 4\nmetrics = [\"maj@4\", \"accuracy\"]\n", "");
    done(&output);
    let first: Value = serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["results"]["metrics"]["maj@4"]["n"], 12, "{first}");
    let samples = records(&log(&folder.path().join("votes")), "sample");
    for sample in &samples {
        let found = sample.get("answer").is_some();
        assert_eq!(found, sample["score"]["verdict"] != "unparsed", "{sample}");
        assert!(sample["score"].get("answer").is_none(), "said once: {sample}");
    }
    let output = eval("consistent", "", "[strategy]\nname = \"self_consistency\"\nn = 5\n");
    done(&output);
    let chosen = records(&log(&folder.path().join("consistent")), "sample");
    assert_eq!(chosen.len(), 12, "one for each item, whatever it took");
    let tokens = |all: &[Value]| -> u64 { all.iter().filter_map(|sample| sample["tokens"].as_u64()).sum() };
    assert!(tokens(&chosen) > 12 * 24, "the tokens of all answers: {}", tokens(&chosen));
    for (head, tail, said) in [
        ("samples = 2\n", "[strategy]\nname = \"best_of_n\"\n", "expected 1 where a strategy chooses"),
        ("", "[strategy]\nname = \"best_of_m\"\n", "did you mean `best_of_n`?"),
        ("", "[strategy]\nname = \"self_consistency\"\nk = 5\n", "unknown"),
    ] {
        let output = eval("wrong", head, tail);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn results_are_compared_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, model) = (benchmark(folder.path(), 30), model());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (out, seed) in [("base", "1"), ("tuned", "2")] {
        let out = path(out);
        let output =
            run(&["eval", &model, "--benchmark", &bench, "--limit", "20", "--seed", seed, "--out", &out, "--json"]);
        done(&output);
        let first: Value = serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        assert_eq!((&first["items"], &first["results"]["shares"]["samples"]), (&20.into(), &40.into()));
        assert!(first["results"]["metrics"]["pass@2"]["low"].is_number() && first["results"]["lenient"].is_object());
    }
    let output = run(&["compare", &path("base"), &path("tuned"), "--out", &path("report")]);
    done(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("sums"));
    for name in ["compare.md", "compare.json", "compare.html"] {
        assert!(fs::read_to_string(folder.path().join("report").join(name)).unwrap().contains("other seeds"), "{name}");
    }
    done(&run(&["leaderboard", folder.path().to_str().unwrap(), "--out", &path("site")]));
    assert!(fs::read_to_string(folder.path().join("site/index.html")).unwrap().contains("tiny-llama"));
    // One digit changed: refused by both, and said where.
    let forged = log(&folder.path().join("tuned"));
    let text = fs::read_to_string(&forged).unwrap();
    fs::write(
        &forged,
        text.replacen("\"verdict\":\"wrong\"", "\"verdict\":\"correct\"", 1).replacen(
            "\"verdict\":\"unparsed\"",
            "\"verdict\":\"correct\"",
            1,
        ),
    )
    .unwrap();
    for call in [vec!["compare", &path("base"), &path("tuned")], vec!["leaderboard", folder.path().to_str().unwrap()]] {
        let output = run(&call);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("the chain is broken"), "{call:?}");
    }
}

#[test]
fn what_tokens_cost_is_told_where_there_is_a_price() {
    let folder = tempfile::tempdir().unwrap();
    let bench = benchmark(folder.path(), 3);
    let cost = |price: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        let call = ["eval", &model(), "--benchmark", &bench, "--json", "--out", out.path().to_str().unwrap()];
        let output = run(&[&call[..], price].concat());
        done(&output);
        let first = String::from_utf8(output.stdout).unwrap();
        let line: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        let shares = &line["results"]["shares"];
        (shares["cost"].as_f64().unwrap(), shares["tokens"].as_f64().unwrap())
    };
    assert_eq!(cost(&[]).0, 0.0);
    let (answers, tokens) = cost(&["--price", "0,2"]);
    assert!(tokens > 0.0 && (answers - tokens * 2e-6).abs() < 1e-12, "{answers} for {tokens} tokens");
    let (prompts, _) = cost(&["--price", "3,0"]);
    // Two samples of three tasks, each prompt some tokens long.
    assert!((6.0 * 3e-6..6.0 * 200.0 * 3e-6).contains(&prompts), "{prompts}");
}

#[test]
fn calls_that_make_no_sense_are_2_before_a_model_is_read() {
    for (call, said) in [
        (&["eval", "smollm2", "--benchmark", "gsm9k"][..], "expected a TOML file or one of"),
        (&["eval", "smollm2", "--suite", "maths"], "unknown suite, expected one of"),
        (&["eval", "smollm2", "--suite", "math", "--price", "1"], "expected two numbers"),
        (&["eval", "smollm2", "--benchmark", "arithmetic/1", "--temperature", "1"], "a benchmark says how it is asked"),
        (&["eval", "smollm2", "--benchmark", "arithmetic/1", "--task", "arithmetic"], "cannot be used with"),
        (&["eval", "smollm2", "--benchmark", "arithmetic/1", "--top-p", "0.9"], "--top-p is for --task"),
        (&["eval", "smollm2", "--benchmark", "arithmatic/1"], "did you mean `arithmetic/1`?"),
        (&["compare", "nowhere", "nothing"], "nowhere: expected a file or a folder of results"),
        (&["leaderboard", "nowhere"], "nowhere: expected a folder of results"),
        (&["compare", "x"], "required"),
        (&["contamination", "x.jsonl"], "--against"),
        (&["contamination", "x.jsonl", "--against", "gsm9k"], "expected a TOML file or one of"),
    ] {
        let output = run(call);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{call:?}: {error}");
        assert!(error.contains(said), "{call:?}: {error}");
    }
}

#[test]
fn a_definition_of_ones_own_begins_with_one_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml").to_str().unwrap().to_owned();
    done(&run(&["benchmark", "new", &file]));
    assert_eq!(run(&["benchmark", "new", &file]).status.code(), Some(2), "what is there is left alone");
    let shown = run(&["benchmark", "show", &file]);
    done(&shown);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.starts_with("# ") && text.contains("name = \"my-benchmark\"") && text.contains("split = \"eval\""),
        "{text}"
    );
    let listed = String::from_utf8(run(&["benchmark", "list"]).stdout).unwrap();
    assert!(listed.contains("bbh") && listed.contains("27 variants") && listed.contains("quick"), "{listed}");
    let schema: Value = serde_json::from_slice(&run(&["benchmark", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["metrics"].is_object());
}
