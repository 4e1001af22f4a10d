//! The real binary over a real server: llama-cpp-python's with SmolLM2, where `./x peers` installed it.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod binary;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use binary::{lines, relign, smollm2, stderr};
use serde_json::{Value, json};

/// A server in a process of its own, until the test ends.
struct Live {
    url: String,
    process: Child,
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server, or nothing where something that it needs is missing.
fn live(model: &str) -> Option<Live> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.x/peers/bin/python");
    let has = Command::new(&python).args(["-c", "import llama_cpp.server.app"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        relign_core::skipped!("llama-cpp-python's server is missing; `./x peers` installs it");
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let args = ["-m", "llama_cpp.server", "--n_ctx", "1024", "--n_threads", "2", "--model", model, "--port"];
    let process = Command::new(python)
        .args(args)
        .arg(port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut live = Live { url: format!("http://127.0.0.1:{port}/v1"), process };
    let end = Instant::now() + Duration::from_secs(120);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(live.process.try_wait().unwrap().is_none() && Instant::now() < end, "the server did not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(live)
}

/// The items and the summary of a search with `more` arguments.
fn search(url: &str, strategy: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let call = ["search", "--task", "arithmetic", "--limit", "2", "--max-tokens", "48", "--json", "--model", url];
    let output = relign(&[&call[..], &["--strategy", strategy], more].concat());
    if output.status.success() { Ok(lines(&output)) } else { Err(stderr(&output)) }
}

#[test]
fn searches_run_on_a_server_that_takes_text_alone() {
    let Some(model) = smollm2() else { return };
    let Some(live) = live(&model) else { return };
    let here = ["--tokenizer", model.as_str()];
    for strategy in [
        "greedy",
        "self_consistency(n=3)",
        "beam(n=4,width=2,scorer=self_evaluation)",
        "mcts(simulations=4,steps.border=sentence,scorer=verifier)",
        "mcts(simulations=4,steps.border=tokens,steps.max_tokens=8,scorer=verifier)",
        "self_refine(rounds=1)",
        "budget_forcing(waits=1)",
    ] {
        let all = search(&live.url, strategy, &here).unwrap_or_else(|error| panic!("{strategy}: {error}"));
        let (summary, items) = all.split_last().unwrap();
        assert_eq!((items.len(), &summary["failed"]), (2, &json!(0)), "{strategy}: {summary}");
        for item in items {
            assert!(item["scores"][0]["verdict"].is_string(), "{strategy}: {item}");
            assert!(item["cost"]["generated"].as_u64().unwrap() > 0, "{strategy}: {item}");
        }
    }
    // Without a tokenizer the server renders, and what goes on from an answer says what it needs.
    for strategy in ["greedy", "self_consistency(n=3)"] {
        let all = search(&live.url, strategy, &[]).unwrap_or_else(|error| panic!("{strategy}: {error}"));
        assert_eq!(all.len(), 3);
    }
    let error = search(&live.url, "mcts(simulations=4,scorer=verifier)", &[]).unwrap_err();
    assert!(error.contains("with --tokenizer MODEL they are"), "{error}");
    let error = search(&live.url, "best_of_n(n=2,scorer=logprob)", &here).unwrap_err();
    assert!(error.contains("the engine does not tell log-probabilities"), "{error}");
}

#[test]
fn steps_on_a_server_are_those_of_the_engine_here() {
    let Some(model) = smollm2() else { return };
    let Some(live) = live(&model) else { return };
    // One beam takes each step greedily in turn: together they are the answer that is made in one go.
    let (whole, steps) = (
        "best_of_n(n=1,scorer=verifier)",
        "beam(n=1,width=1,steps.border=sentence,steps.max_tokens=12,scorer=verifier)",
    );
    let here = ["--tokenizer", model.as_str(), "--temperature", "0.001"];
    let text = |all: &[Value]| all[0]["chosen"]["text"].as_str().unwrap().trim().to_owned();
    let whole = search(&live.url, whole, &here).unwrap();
    let cut = search(&live.url, steps, &here).unwrap();
    assert_eq!(text(&whole), text(&cut));
    let nothing = relign(&["generate", "--model", &live.url, "--tokenizer", &model, "--prompt", "Hi", "--json"]);
    let said = &lines(&nothing)[0];
    assert!(!said["text"].as_str().unwrap().is_empty() && said["tokens"].is_null(), "{said}");
}
