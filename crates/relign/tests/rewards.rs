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

/// Every file below `folder`, unpacked where it is packed.
fn all_bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_bytes(&path));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|end| end == "zst") {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        all.push((path, bytes));
    }
    all
}

#[test]
fn a_secret_in_an_address_stands_in_nothing_that_is_written() {
    const SECRET: &str = "S3CR3T";
    // A server that repeats what it was given wherever it can.
    let server = Server::new(|call| {
        let number = call.body.to_string().len();
        match number % 3 {
            0 => Reply::Status(401, "", format!("{{\"error\": \"wrong key {} {SECRET}-tok {SECRET}-pw\"}}", call.path)),
            _ => Reply::Json(json!({"scores": [{"value": (number % 7) as f64, "reason": "long"}]})),
        }
    });
    let root = tempfile::tempdir().unwrap();
    let url =
        server.url.replace("http://", &format!("http://me:{SECRET}-pw@")) + &format!("/score?api_key={SECRET}-tok&n=1");
    let file = recipe(root.path(), &format!("[[rewards]]\nname = \"http\"\nurl = \"{url}\"\nretries = 0"));
    let out = root.path().join("run");
    let clean = |output: &Output, what: &str| {
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains(SECRET), "{what}: {text}");
        }
        for (path, bytes) in if out.exists() { all_bytes(&out) } else { Vec::new() } {
            let holds = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!holds, "{what}: {}: {}", path.display(), String::from_utf8_lossy(&bytes));
        }
    };
    let first = train(&file, &out, &["--json"]).output().unwrap();
    assert!(first.status.success(), "{}", errors(&first));
    assert!(server.calls().iter().any(|call| call.path.contains(&format!("api_key={SECRET}-tok&n=1"))));
    let failed = metrics(&out).iter().map(|step| step["rollouts"]["failed"].as_u64().unwrap()).sum::<u64>();
    assert!(failed > 0, "nothing failed, so nothing was repeated");
    clean(&first, "a run");
    let kept = fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(kept.contains("api_key=***&n=1") && kept.contains("http://***@127.0.0.1"), "{kept}");
    // The recipe that has the secret goes on; the run's copy says what it lacks.
    let longer = train(&file, &out, &["--resume", "--set", "run.steps=4"]).output().unwrap();
    assert!(longer.status.success() && metrics(&out).len() == 4, "{}", errors(&longer));
    clean(&longer, "going on");
    let copy = train(&out.join("recipe.toml"), &out, &["--resume"]).output().unwrap();
    assert_eq!(copy.status.code(), Some(2));
    assert!(errors(&copy).contains("rewards.0.url: expected its secret"), "{}", errors(&copy));
    let set = format!("rewards.0.url=\"{url}\"");
    let again = train(&out.join("recipe.toml"), &out, &["--resume", "--set", &set]).output().unwrap();
    assert!(again.status.success(), "{}", errors(&again));
    clean(&again, "with the secret beside");
    // Wrong calls repeat no secret either.
    for more in [
        vec!["--set".to_owned(), format!("rewards.0.api_key={SECRET}")],
        vec!["--set".to_owned(), format!("rewards.0.url=ftp://u:{SECRET}@h")],
        vec![
            "--set".to_owned(),
            format!("rewards.0.url=http://u:{SECRET}@h/?token={SECRET}"),
            "--set".to_owned(),
            "run.steps=0".to_owned(),
        ],
        vec!["--set".to_owned(), format!("rewards.0={{name=\"judge\",endpoint=\"http://u:{SECRET}@h/v1#m\"}}")],
        vec!["--set".to_owned(), format!("rewards.0={{name=\"judge\",endpoint=\"http://h/v1?key={SECRET}#m\"}}")],
        vec!["--set".to_owned(), format!("model.path=http://u:{SECRET}@h/?token={SECRET}")],
    ] {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let wrong = train(&file, &root.path().join("other"), &more).output().unwrap();
        assert!(!wrong.status.success(), "{more:?}");
        clean(&wrong, &format!("{more:?}"));
    }
    // Nor does the card of what came of it.
    let card = root.path().join("card");
    let mut export = Command::new(env!("CARGO_BIN_EXE_relign"));
    let output = export.arg("export").arg(&out).arg(&card).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    clean(&output, "the export");
    for (path, bytes) in all_bytes(&card) {
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{}", path.display());
    }
    let page = fs::read_to_string(card.join("README.md")).unwrap();
    assert!(page.contains("behind an address (`http`)") && !page.contains("rules compute"), "{page}");
}

#[test]
fn what_a_server_says_reaches_a_terminal_spelled() {
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{9b}2J\u{202e}\r";
    let server = Server::of("x", move |_| {
        Reply::Status(400, "", json!({"error": {"message": format!("no {evil} no")}}).to_string())
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_relign"));
    command
        .args(["generate", "--model", &server.url, "--prompt", "x", "--max-tokens", "4"])
        .env_remove("RELIGN_API_KEY");
    let output = command.output().unwrap();
    let said = errors(&output);
    assert!(!output.status.success() && said.contains("no \\u{1b}]52;c;ZXZpbA=="), "{said}");
    assert!(!said.contains(|c: char| relign_core::is_control(c) && c != '\n' && c != '\t'), "{said:?}");
}

#[test]
fn a_value_beyond_what_training_can_add_fails_its_sample() {
    let root = tempfile::tempdir().unwrap();
    let script = root.path().join("mine.py");
    let source = "def f(completions, **kwargs):\n    return [[1e308, 0.5, 2.0, 0.25, 0.125][sum(map(ord, str(text))) % 5] for text in completions]\n";
    fs::write(&script, source).unwrap();
    for rewards in [
        format!("[[rewards]]\nname = \"python:{}:f\"", script.display()),
        format!(
            "[[rewards]]\nname = \"python:{0}:f\"\n[[rewards]]\nname = \"python:{0}:f\"\nweight = 1e9",
            script.display()
        ),
    ] {
        let out = tempfile::tempdir().unwrap();
        let output = train(&recipe(root.path(), &rewards), &out.path().join("run"), &[]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        let steps = metrics(&out.path().join("run"));
        assert!(steps.iter().any(|step| step["rollouts"]["failed"].as_u64().unwrap() > 0), "{steps:?}");
        for step in steps {
            assert!(
                step["rollouts"]["reward"].as_f64().unwrap().is_finite()
                    && step["update"]["loss"].as_f64().unwrap().is_finite(),
                "{step}"
            );
        }
        let trees = zstd::decode_all(&fs::read(out.path().join("run/trees.jsonl.zst")).unwrap()[..]).unwrap();
        assert!(String::from_utf8_lossy(&trees).contains("expected a value from -1e9 to 1e9, got 1e308"), "no reason");
    }
}
