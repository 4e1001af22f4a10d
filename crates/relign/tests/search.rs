//! Searches by the real binary: kept, killed and gone on with, compared, refused.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "binary/mod.rs"]
mod binary;
#[path = "../../engine/tests/standin/mod.rs"]
mod standin;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use binary::{lines, relign, stderr, tiny};
use serde_json::{Value, json};
use standin::{Reply, Server};

fn compare<'a>(model: &'a str, out: &'a str, strategies: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let call =
        ["search", "compare", "--task", "arithmetic", "--model", model, "--strategies", strategies, "--out", out];
    let size = ["--limit", "6", "--max-tokens", "16", "--dtype", "f32", "--json"];
    [&call[..], &size, more].concat()
}

/// The trees of every search in `folder`, by file.
fn trees(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder.join("searches")).unwrap().map(|entry| entry.unwrap().path());
    let trees = files.filter(|path| !path.to_str().unwrap().ends_with(".spent.jsonl"));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    trees.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

/// A row without what the clock says.
fn timeless(row: &Value) -> Value {
    let mut row = row.clone();
    for clock in ["seconds", "measured", "served", "reused"] {
        row.as_object_mut().unwrap().remove(clock);
    }
    row
}

#[test]
fn a_search_is_kept_and_its_trees_are_shown() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let call = [
        "search",
        "--task",
        "arithmetic",
        "--strategy",
        "best_of_n(n=3)",
        "--model",
        &model,
        "--limit",
        "4",
        "--max-tokens",
        "12",
        "--budget",
        "30",
        "--out",
        &out,
        "--json",
    ];
    let output = relign(&call);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = lines(&output);
    let (summary, items) = all.split_last().unwrap();
    assert_eq!((items.len(), &summary["searches"], &summary["n"]), (4, &json!(4), &json!(4)));
    for item in items {
        assert!(item["cost"]["generated"].as_u64().unwrap() <= 30, "{item}");
        assert!(item["chosen"]["score"]["verdict"].is_string(), "{item}");
    }
    let before = trees(Path::new(&out));
    let again = relign(&call);
    assert_eq!(lines(&again)[..4], all[..4]);
    assert_eq!(trees(Path::new(&out)), before);
    let file = Path::new(&out).join("searches").join(before.keys().next().unwrap());
    let shown = relign(&["tree", file.to_str().unwrap(), "--json"]);
    assert_eq!(lines(&shown).last().unwrap()["of"], 4);
    // What was begun with other settings is not mixed with these.
    let other = relign(&[&call[..], &["--seed", "9"]].concat());
    assert_eq!(other.status.code(), Some(2));
    assert!(
        stderr(&other).contains("seed: expected 1, which its searches were begun with, got 9"),
        "{}",
        stderr(&other)
    );
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_trees() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (whole, killed) = (path("whole"), path("killed"));
    let strategies =
        "greedy,sample(n=4),best_of_n(fill=true),mcts(simulations=6,steps.border=tokens,steps.max_tokens=4)";
    let more = ["--budgets", "40,80", "--at-once", "2"];
    let output = relign(&compare(&model, &whole, strategies, &more));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let completions = |out: &str| {
        let text = std::fs::read_to_string(Path::new(out).join("completions.jsonl")).unwrap_or_default();
        text.lines().count()
    };
    for least in [1, 30, 90] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relign"))
            .args(compare(&model, &killed, strategies, &more))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(120);
        while child.try_wait().unwrap().is_none() && Instant::now() < end && completions(&killed) < least {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    // Half a line at the end is what a crash leaves.
    let torn = Path::new(&killed).join("completions.jsonl");
    let bytes = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() - 5]).unwrap();
    let resumed = relign(&compare(&model, &killed, strategies, &more));
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    assert_eq!(trees(Path::new(&whole)), trees(Path::new(&killed)));
    let rows = |output: &std::process::Output| -> Vec<Value> {
        lines(output).last().unwrap()["rows"].as_array().unwrap().iter().map(timeless).collect()
    };
    assert_eq!(rows(&output), rows(&resumed));
    for file in ["compare.html", "compare.png", "compare.svg", "compare.md", "compare.json"] {
        assert!(Path::new(&killed).join(file).is_file(), "{file}");
    }
}

#[test]
fn nothing_is_generated_twice_and_everybody_is_charged() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let out = folder.path().to_str().unwrap().to_owned();
    let strategies = "sample(n=6),self_consistency(n=4,confidence=1.0),best_of_n(n=6),weighted_vote(n=6)";
    let output = relign(&compare(&model, &out, strategies, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = lines(&output).pop().unwrap();
    let rows = summary["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["reused"].as_f64().unwrap()).collect::<Vec<_>>(), [0.0, 1.0, 1.0, 1.0]);
    assert_eq!((&rows[0]["tokens"], &rows[0]["tokens"]), (&rows[2]["tokens"], &rows[3]["tokens"]));
    assert!(rows[2]["seconds"].as_f64() == rows[0]["seconds"].as_f64() && rows[2]["served"].is_null());
    let text = std::fs::read_to_string(folder.path().join("completions.jsonl")).unwrap();
    let keys: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    assert_eq!((keys.len(), keys.iter().map(Value::to_string).collect::<HashSet<_>>().len()), (36, 36));
    // What was reused is what would have been generated.
    let alone = folder.path().join("alone");
    let output = relign(&compare(&model, alone.to_str().unwrap(), "best_of_n(n=6)", &[]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (own, all) = (trees(&alone), trees(folder.path()));
    for (name, text) in own {
        assert_eq!(all[&name], text);
    }
}

#[test]
fn rstar_has_what_runs_its_steps() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let out = folder.path().to_str().unwrap().to_owned();
    let strategies = "rstar(simulations=2,expand=2,steps.border=line)";
    let output = relign(&compare(&model, &out, strategies, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn calls_that_make_no_sense_are_refused_before_work_begins() {
    let model = tiny();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap().to_owned();
    for (strategies, more, said) in [
        ("mcts", &["--budgets", "256,0"][..], "--budgets: expected 1 to 16777216 tokens or `none`, got 0"),
        ("mcts", &["--budgets", ","], "--budgets: expected at least one"),
        ("mtcs", &[], "did you mean `mcts`?"),
        ("sample(n=0)", &[], "n=0: expected at least 1, got 0"),
        ("sample(k=3)", &[], "unknown key `k`"),
        ("greedy,greedy", &[], "got `greedy` twice"),
        ("greedy,best_of_n(scorer=reward_model)", &[], "expected a reward model, got none"),
        ("best_of_n(fill=true)", &[], "fill: expected a budget to go up to, got none"),
        ("self_consistency(n=4,temperature=0)", &[], "expected a temperature above 0, got 0"),
        ("nowhere.toml", &[], "nowhere.toml: "),
        ("mcts", &["--prompt-budget", "0"], "--prompt-budget"),
    ] {
        let output = relign(&compare(&model, &out, strategies, more));
        assert_eq!(output.status.code(), Some(2), "{strategies} {more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{strategies} {more:?}: {}", stderr(&output));
    }
    let output =
        relign(&["search", "--task", "arithmetic", "--strategy", "greedy", "--model", &model, "--budget", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(relign(&["search"]).status.code() == Some(2));
    let completions = std::fs::read(folder.path().join("completions.jsonl")).unwrap_or_default();
    assert!(completions.is_empty(), "something was generated");
}

#[test]
fn strategies_from_a_file() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let file = folder.path().join("s.toml");
    let text = "[[strategies]]\nname = \"sample\"\nn = 1\ntemperature = 0\nlabel = \"one\"\nbudget = \"none\"\n\
                [[strategies]]\nname = \"best_of_n\"\nn = 2\nscorer = \"logprob\"\n";
    std::fs::write(&file, text).unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let output = relign(&compare(&model, &out, file.to_str().unwrap(), &["--budgets", "50"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows = lines(&output).pop().unwrap()["rows"].clone();
    assert_eq!((&rows[0]["strategy"], &rows[0]["budget"]), (&json!("one"), &Value::Null));
    assert_eq!((&rows[1]["strategy"], &rows[1]["budget"]), (&json!("best_of_n"), &json!(50)));
}

fn said(text: &str) -> Reply {
    Reply::Json(json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3}}))
}

#[test]
fn a_server_that_garbles_and_comes_to_its_senses() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap().to_owned();
    let call = |url: &str| {
        [
            "search",
            "--task",
            "arithmetic",
            "--strategy",
            "self_consistency(n=2)",
            "--limit",
            "4",
            "--out",
            &out,
            "--json",
            "--model",
            url,
        ]
        .map(str::to_owned)
    };
    let ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = std::sync::Arc::clone(&ill);
    let server = Server::of("someone", move |call| {
        let asked = call.body["messages"][0]["content"].as_str().unwrap();
        let odd = asked.bytes().map(u32::from).sum::<u32>() % 2 == 1;
        if odd && state.load(std::sync::atomic::Ordering::Relaxed) {
            Reply::Json(json!({"choices": []}))
        } else {
            said("7")
        }
    });
    let ask = || relign(&call(&server.url).each_ref().map(String::as_str));
    let output = ask();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("searches failed, which the same call tries again"), "{}", stderr(&output));
    assert!(stderr(&output).contains("choices: expected a list with one completion, got []"), "{}", stderr(&output));
    let kept = trees(folder.path()).values().map(|text| text.lines().count()).sum::<usize>();
    assert!(kept > 0 && kept < 4, "{kept}");
    ill.store(false, std::sync::atomic::Ordering::Relaxed);
    let before = server.calls().len();
    let output = ask();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        server.calls().iter().skip(before).filter(|call| call.path.ends_with("/completions")).count(),
        2 * (4 - kept)
    );
    assert_eq!(trees(folder.path()).values().map(|text| text.lines().count()).sum::<usize>(), 4);
}

#[test]
fn a_server_that_is_dead_or_stalls() {
    let output =
        relign(&["search", "--task", "arithmetic", "--strategy", "greedy", "--model", "http://127.0.0.1:9/v1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("http://127.0.0.1:9/v1"), "{}", stderr(&output));
    let server = Server::of("someone", |_| Reply::Stall(Vec::new()));
    let output = relign(&[
        "search",
        "--task",
        "arithmetic",
        "--strategy",
        "greedy",
        "--limit",
        "1",
        "--timeout",
        "1",
        "--model",
        &server.url,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("1 of 1 searches failed"), "{}", stderr(&output));
    // A step can only go on from tokens, which this server keeps to itself.
    let cut = || json!({"choices": [{"message": {"content": "First, "}, "finish_reason": "length"}]});
    let server = Server::of("someone", move |_| Reply::Json(cut()));
    let output = relign(&[
        "search",
        "--task",
        "arithmetic",
        "--strategy",
        "beam(scorer=verifier)",
        "--limit",
        "1",
        "--model",
        &server.url,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("with --tokenizer MODEL they are"), "{}", stderr(&output));
}

/// Some ten thousand requests wait in the engine; one signal ends all of them, and what was generated is kept.
#[test]
fn a_search_of_many_requests_ends_at_its_first_signal() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny());
    let out = folder.path().join("out");
    let strategy = "self_consistency(n=30000, max_tokens=2)";
    let call = ["search", "--task", "arithmetic", "--strategy", strategy, "--model", &model, "--limit", "1", "--out"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.args(call).arg(&out).env("OMP_NUM_THREADS", "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let kept = || std::fs::read_to_string(out.join("completions.jsonl")).unwrap_or_default();
    let start = Instant::now();
    while kept().lines().count() < 10 {
        assert!(
            child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120),
            "nothing was generated"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("the signal was not heeded");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("interrupted; the same call goes on"), "{}", stderr(&output));
    assert!(kept().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}
