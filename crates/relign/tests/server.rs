//! The real binary over a server that stands in for vLLM and its like.
#![allow(clippy::unwrap_used)] // A test's own functions may fail loudly, too.

#[path = "../../engine/tests/standin/mod.rs"]
mod standin;

use std::process::{Command, Output};

use serde_json::{Value, json};
use standin::{Call, Reply, Server, completion};

fn relign(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relign")).args(args).env_remove("RELIGN_API_KEY").output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Solves `What is 3 + 4? ...`, as arithmetic asks it.
fn solve(call: &Call) -> i64 {
    let said = call.body["messages"][0]["content"].as_str().unwrap();
    let sum = said.trim_start_matches("What is ").split('?').next().unwrap();
    let words: Vec<&str> = sum.split(' ').collect();
    let number = |at: usize| words[at].parse::<i64>().unwrap();
    match words[1] {
        "+" => number(0) + number(2),
        "-" => number(0) - number(2),
        other => panic!("{other} in {said}"),
    }
}

fn said(text: &str) -> Reply {
    Reply::Json(json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3}}))
}

#[test]
fn eval_asks_a_server_and_keeps_what_was_answered() {
    let server = Server::of("someone", |call| said(&solve(call).to_string()));
    let args = ["--task", "arithmetic", "--limit", "12", "--json"];
    let output = relign(&[&["eval", &server.url], &args[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = lines(&output);
    let (summary, items) = all.split_last().unwrap();
    assert_eq!((&summary["accuracy"], &summary["tokens"]), (&json!(1.0), &json!(36)));
    assert_eq!((&summary["server"]["model"], &summary["server"]["failed"]), (&json!("tiny"), &json!(0)));
    assert_eq!((items.len(), &items[0]["samples"][0]["tokens"]), (12, &Value::Null));

    // One in three is refused: the others count, all is written, and the exit status says that it is not whole.
    let server = Server::of("someone", |call| match solve(call) {
        n if n % 3 == 0 => Reply::Status(400, "", json!({"error": {"message": "no threes"}}).to_string()),
        n => said(&n.to_string()),
    });
    let out = tempfile::tempdir().unwrap();
    let output = relign(&[&["eval", &server.url, "--out", out.path().to_str().unwrap()], &args[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let summary = lines(&output).pop().unwrap();
    let failed = summary["failed"].as_u64().unwrap();
    assert!((1..12).contains(&failed), "{summary}");
    assert_eq!((&summary["accuracy"], &summary["n"]), (&json!(1.0), &json!(12 - failed)));
    let error = format!(
        "{failed} of 12 requests failed: {}/chat/completions: expected status 200, got 400: no threes",
        server.url
    );
    assert!(stderr(&output).contains(&error), "{}", stderr(&output));
    assert!(out.path().join("summary.json").is_file() && out.path().join("trees.jsonl.zst").is_file());
}

#[test]
fn parameters_that_a_server_refuses_are_left_out_and_the_results_name_them() {
    let server = Server::of("someone", |call| match call.body.get("top_p").or(call.body.get("seed")) {
        Some(_) => {
            Reply::Status(400, "", json!({"error": {"message": "top_p and seed are not supported"}}).to_string())
        }
        None => said("4"),
    });
    let eval = ["eval", &server.url, "--task", "arithmetic", "--limit", "2", "--json"];
    let generate = ["generate", "--model", &server.url, "--prompt", "2+2?", "--json"];
    for call in [&eval[..], &generate[..]] {
        let output = relign(call);
        assert_eq!(output.status.code(), Some(1));
        let all = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(all.contains("; --drop-params top_p leaves it out"), "{all}");
        let output = relign(&[call, &["--drop-params", "top_p,seed"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(lines(&output).pop().unwrap()["server"]["drop_params"], json!(["seed", "top_p"]));
    }
    let output = relign(&["doctor", &server.url, "--drop-params", "top_p,seed", "--json"]);
    let chat = lines(&output).into_iter().find(|line| line["what"] == "chat").unwrap();
    assert!(chat["found"].as_str().unwrap().contains("answers conversations"), "{chat}");
    let output = relign(&[&generate[..], &["--drop-params", "model"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--drop-params: "), "{}", stderr(&output));
}

#[test]
fn marks_of_thoughts_are_a_setting() {
    let server = Server::of("someone", |call| said(&format!("{} [[or {}?]]", solve(call), solve(call) + 1)));
    let call = ["eval", &server.url, "--task", "arithmetic", "--limit", "4", "--json"];
    let summary = |more: &[&str]| {
        let output = relign(&[&call[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        lines(&output).pop().unwrap()
    };
    assert_eq!(summary(&[])["accuracy"], json!(0.0));
    let marked = summary(&["--thought-markers", "[[", "]]"]);
    assert_eq!((&marked["accuracy"], &marked["thought_markers"]), (&json!(1.0), &json!([["[[", "]]"]])));
    let output = relign(&[&call[..], &["--thought-markers", "[[", "[["]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("expected two different texts that open and end a thought"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn generate_tells_unknown_from_none_and_a_failure_from_an_answer() {
    let server = Server::of("someone", |call| match call.body["messages"][0]["content"].as_str() {
        Some("bad") => Reply::Json(json!({"choices": []})),
        Some(text) => said(&format!("{text}, {text}")),
        None => panic!("{}", call.body),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.jsonl");
    std::fs::write(&file, "{\"prompt\": \"good\"}\n{\"prompt\": \"bad\"}\n{\"prompt\": \"best\"}\n").unwrap();
    let output = relign(&["generate", "--model", &server.url, "--file", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let all = lines(&output);
    assert_eq!(all.len(), 4);
    assert_eq!(all[0]["text"], "good, good");
    assert_eq!((&all[0]["tokens"], &all[0]["logprobs"]), (&Value::Null, &Value::Null));
    assert!(all[1]["error"].as_str().unwrap().ends_with("choices: expected a list with one completion, got []"));
    assert_eq!(all[2]["text"], "best, best");
    assert_eq!((&all[3]["completions"], &all[3]["tokens"]), (&json!(2), &json!(6)));
    assert!(stderr(&output).contains("1 of 3 requests failed"), "{}", stderr(&output));
}

#[test]
fn a_tokenizer_here_sends_ids_that_the_server_means_alike() {
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/tiny-llama");
    let server = Server::of("vllm", |call| match call.path.as_str() {
        "/tokenize" => Reply::Status(404, "", String::new()),
        _ => Reply::Json(completion("hello")),
    });
    let ask = |server: &Server| {
        relign(&["generate", "--model", &server.url, "--tokenizer", tokenizer, "--prompt", "hi", "--json"])
    };
    let output = ask(&server);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = lines(&output).remove(0);
    assert_eq!(line["tokens"], json!(b"hello"));
    assert_eq!(line["logprobs"].as_array().unwrap().len(), 5);
    let call = server.calls().into_iter().find(|call| call.path == "/v1/completions").unwrap();
    assert!(call.body["prompt"].as_array().unwrap().iter().all(Value::is_u64));
    // A server that speaks of other tokens would answer another question.
    let other = Server::of("vllm", |call| match call.path.as_str() {
        "/tokenize" => Reply::Json(json!({"tokens": [1, 2, 3]})),
        _ => Reply::Json(completion("hello")),
    });
    let output = ask(&other);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("expected the tokens of tiny at"), "{}", stderr(&output));
    assert!(other.calls().iter().all(|call| call.path == "/tokenize"));
}

#[test]
fn doctor_looks_at_a_server() {
    let vllm = Server::of("vllm", |call| match call.path.as_str() {
        "/v1/completions" => Reply::Json(completion("ab")),
        _ => said("4"),
    });
    let python = Server::of("me", |_| said("4"));
    let blind = Server::of("someone", |call| match call.path.as_str() {
        "/v1/completions" => Reply::Status(422, "", json!({"detail": "prompt must be text"}).to_string()),
        _ => said("4"),
    });
    for (server, tells) in [
        (&vllm, "takes and tells them, with log-probabilities"),
        (&python, "llama-cpp-python takes no token ids"),
        (&blind, "got 422: prompt must be text"),
    ] {
        let output = relign(&["doctor", &server.url, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let all = lines(&output);
        let find = |what: &str| all.iter().find(|line| line["what"] == what).unwrap()["found"].as_str().unwrap();
        assert!(find("server").contains(&server.url) && find("chat").contains("\"4\""));
        assert!(find("token ids").contains(tells), "{}", find("token ids"));
    }
    let output = relign(&["doctor", "http://127.0.0.1:9/v1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("http://127.0.0.1:9/v1/models"));
}

#[test]
fn calls_that_make_no_sense_are_2() {
    for (call, said) in [
        (&["eval", "smollm2", "--task", "arithmetic", "--timeout", "5"][..], "--timeout is for a server"),
        (&["chat", "http://localhost:9", "--weights", "q4"], "--kv-cache and --context are for a model here"),
        (&["chat", "http://"], "expected http://HOST:PORT/v1"),
        (
            &["generate", "--model", "http://127.0.0.1:99999/v1#m", "--prompt", "x"],
            "the port 99999, which is none of 1",
        ),
        (&["eval", "http://127.0.0.1:+80/v1#m", "--task", "arithmetic"], "the port +80, which is none of 1 to 65535"),
        (&["eval", "smollm2", "--task", "arithmetic", "--drop-params", "top_p"], "--drop-params is for a server"),
        (&["generate", "--model", "http://a:b@c/v1", "--prompt", "x"], "give a key in the environment"),
        (&["chat", "http://localhost:9", "--api-key-env", "RELIGN_NO_KEY"], "expected a key in RELIGN_NO_KEY"),
        (&["measure", "export", "http://localhost:9", "/nowhere"], "expected weights that can be read, got a server"),
    ] {
        let output = relign(call);
        assert_eq!(output.status.code(), Some(2), "{call:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{call:?}: {}", stderr(&output));
    }
}
