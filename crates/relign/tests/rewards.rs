//! Runs of the real binary whose rewards ask others.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "../../engine/tests/standin/mod.rs"]
mod standin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standin::{Reply, Server};

/// A recipe for a model of two small layers.
fn recipe(folder: &Path, rewards: &str) -> PathBuf {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama.gguf");
    let file = folder.join("recipe.toml");
    let text = format!(
        "seed = 3\n[model]\npath = \"{}\"\ndtype = \"f32\"\n[environment]\nname = \"arithmetic\"\n{rewards}\n\
         [strategy]\nname = \"sample\"\nn = 4\n[sampling]\nmax_tokens = 8\n[algorithm]\nname = \"grpo\"\n\
         [run]\nsteps = 3\ntasks = 2\n[eval]\nitems = 2\n",
        model.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn train(recipe: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command.arg("train").arg(recipe).arg("--out").arg(out).args(more).env("OMP_NUM_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(120), "it did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_is_judged_by_python_and_masks_what_it_leaves_out() {
    let root = tempfile::tempdir().unwrap();
    let script = root.path().join("mine.py");
    // Group by group, the first answer is left out and the others are ranked.
    fs::write(
        &script,
        "def ranks(completions, completion_ids, expression, **kwargs):\n\
         \x20   assert len(completions) == 4 and len(set(expression)) == 1\n\
         \x20   print('hello')\n\
         \x20   return [None] + [float(sum(ids) % 97) for ids in completion_ids[1:]]\n",
    )
    .unwrap();
    let file = recipe(root.path(), &format!("[[rewards]]\nname = \"python:{}:ranks\"", script.display()));
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    for out in [&a, &b] {
        let output = train(&file, out, &[]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    }
    let steps = metrics(&a);
    assert_eq!(steps.len(), 3);
    for step in &steps {
        assert_eq!((&step["rollouts"]["samples"], &step["rollouts"]["failed"]), (&json!(8), &json!(2)));
    }
    assert!(steps.iter().any(|step| step["rollouts"]["reward_std"].as_f64().unwrap() > 0.0));
    assert_eq!(steps, metrics(&b));
}

#[test]
fn what_python_cannot_load_ends_the_call_before_a_run_is_made() {
    let root = tempfile::tempdir().unwrap();
    let script = root.path().join("mine.py");
    fs::write(&script, "import nowhere_at_all\n").unwrap();
    let name = format!("python:{}:f", script.display());
    let out = root.path().join("run");
    let file = recipe(root.path(), &format!("[[rewards]]\nname = \"{name}\""));
    for more in [&[][..], &["--dry-run"]] {
        let output = train(&file, &out, more).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let wanted = format!(
            "error: reward `{name}`: {}:f: ModuleNotFoundError: No module named 'nowhere_at_all' (",
            script.display()
        );
        assert!(errors(&output).contains(&wanted), "{}", errors(&output));
        assert!(!out.exists());
    }
    let file = recipe(root.path(), "[[rewards]]\nname = \"python:mine.py\"");
    let output = train(&file, &out, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = errors(&output);
    assert!(
        error.contains("rewards.0.function: expected PATH.py:NAME or MODULE:NAME, got `mine.py`")
            && error.contains("recipe.toml:"),
        "{error}"
    );
}

#[test]
fn a_killed_run_leaves_no_python_behind() {
    let root = tempfile::tempdir().unwrap();
    let (script, pid) = (root.path().join("mine.py"), root.path().join("pid"));
    // Held fast in a call into C, so that nothing but the system can end it.
    let source = format!(
        "import os, re\ndef f(completions, **kwargs):\n\x20   open({:?}, 'w').write(str(os.getpid()))\n\x20   re.match(r'(a+)+$', 'a' * 64 + 'b')\n",
        pid.display().to_string()
    );
    fs::write(&script, source).unwrap();
    let file = recipe(root.path(), &format!("[[rewards]]\nname = \"python:{}:f\"\nseconds = 600", script.display()));
    let mut child =
        train(&file, &root.path().join("run"), &[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| fs::read_to_string(&pid).is_ok_and(|text| !text.is_empty()));
    let pid = fs::read_to_string(&pid).unwrap();
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = || {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('Z'))
    };
    wait_until(gone);
}

#[test]
fn a_judges_price_is_in_the_summary_and_a_second_run_pays_nothing() {
    let server = Server::new(|call| {
        let text = call.body["messages"][0]["content"].as_str().unwrap();
        let answer = text.split("<answer>").nth(1).unwrap().split("</answer>").next().unwrap().trim();
        let said = if answer.len() % 5 == 0 {
            "no verdict".to_owned()
        } else {
            json!({"score": answer.len() % 3}).to_string()
        };
        Reply::Json(json!({"choices": [{"message": {"content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 5}}))
    });
    let root = tempfile::tempdir().unwrap();
    let rewards = format!(
        "[[rewards]]\nname = \"judge\"\nendpoint = \"{}#tiny\"\nmax = 2\ncache = \"{}\"\nusd_per_million_read = 100",
        server.url,
        root.path().join("judge.jsonl").display()
    );
    let file = recipe(root.path(), &rewards);
    let run = |name: &str| -> (Value, Vec<Value>, String) {
        let out = root.path().join(name);
        let output = train(&file, &out, &[]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        let summary = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        (summary, metrics(&out), String::from_utf8(output.stdout).unwrap())
    };
    let (first, steps, shown) = run("a");
    let judging = &first["judging"];
    let requests = judging["requests"].as_u64().unwrap();
    assert!(requests > 0 && requests <= 24 && requests == server.calls().len() as u64, "{judging}");
    assert_eq!(judging["prompt_tokens"], json!(50 * requests));
    assert!((judging["usd"].as_f64().unwrap() - requests as f64 * 0.005).abs() < 1e-9);
    assert!(shown.contains(&format!("judging: {requests} requests")), "{shown}");
    let (second, again, _) = run("b");
    assert_eq!(again, steps);
    // Only what was no verdict is asked again.
    assert!(second["judging"]["requests"].as_u64().unwrap() < requests, "{second}");
    assert!(second["judging"]["cached"].as_u64().unwrap() > 0, "{second}");
}
