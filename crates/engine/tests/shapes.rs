//! Servers whose answers depart from OpenAI's in shape: none of them loses a sample.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod standin;

use std::time::{Duration, Instant};

use relign_core::{Completion, Finish, Generate, GenerateError, Message, Request, Sampling, Seed};
use relign_engine::remote::{Address, Prompts, Remote, RemoteOptions};
use serde_json::{Map, Value, json};
use standin::{Reply, Server};

/// What a test waits for at most.
const FOREVER: Duration = Duration::from_secs(120);

fn options() -> RemoteOptions {
    RemoteOptions { backoff: Duration::from_millis(2), retries: 3, ..RemoteOptions::default() }
}

fn connect(server: &Server, model: &str) -> Result<Remote, String> {
    let address = Address::parse(&format!("{}{model}", server.url)).unwrap();
    Remote::connect(&address, Prompts::Conversations, &options()).map_err(|error| error.to_string())
}

/// The answer to one question.
fn ask(remote: &mut Remote) -> Result<Completion, String> {
    let sampling = Sampling { max_tokens: 20, ..Sampling::default() };
    let request = Request { id: 1, prompt: Vec::new(), sampling, seed: Seed(1) };
    remote.submit_conversation(request, &[Message::user("2+2?")]).map_err(|error| error.to_string())?;
    wait(remote)
}

/// The answer that comes next.
fn wait(remote: &mut Remote) -> Result<Completion, String> {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < FOREVER, "the request hangs");
        match remote.poll() {
            Ok(mut done) if !done.is_empty() => return Ok(done.remove(0)),
            Ok(_) => {}
            Err(GenerateError::Failed { what, .. }) => return Err(what),
            Err(broken) => panic!("{broken}"),
        }
    }
}

fn models() -> Value {
    json!({"object": "list", "data": [{"id": "tiny", "owned_by": "someone"}]})
}

/// A usual answer with `change` made to it.
fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut answer = json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    });
    change(&mut answer);
    answer
}

fn raw(headers: &str, body: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes())
}

/// A server whose answers to questions are `reply`'s.
fn answering(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    Server::new(move |call| if call.path == "/v1/models" { Reply::Json(models()) } else { reply() })
}

#[test]
fn answers_of_other_shapes_are_read() {
    let message = |message: Value| changed(|answer| answer["choices"][0]["message"] = message.clone());
    let finish = |finish: Value| changed(|answer| answer["choices"][0]["finish_reason"] = finish.clone());
    let tokens = |count: Value| changed(|answer| answer["usage"]["completion_tokens"] = count.clone());
    let cases: Vec<(&str, Value, Finish, u64)> = vec![
        // What is special, the answer, its end, and the tokens that are counted.
        ("usual", changed(|_| ()), Finish::Stop, 2),
        ("parts", message(json!({"content": [{"type": "text", "text": "4"}]})), Finish::Stop, 2),
        ("two parts", message(json!({"content": [{"type": "text", "text": ""}, {"text": "4"}]})), Finish::Stop, 2),
        (
            "thinking part",
            message(
                json!({"content": [{"type": "thinking", "thinking": [{"text": "5"}]}, {"type": "text", "text": "4"}]}),
            ),
            Finish::Stop,
            2,
        ),
        ("reasoning", message(json!({"content": "4", "reasoning_content": "Is it 5?"})), Finish::Stop, 2),
        ("reasoning null", message(json!({"content": "4", "reasoning": null, "tool_calls": null})), Finish::Stop, 2),
        ("finish eos", finish(json!("eos")), Finish::Stop, 2),
        ("finish unknown", finish(json!("natural")), Finish::Stop, 2),
        ("finish empty", finish(json!("")), Finish::Stop, 2),
        ("finish null", finish(json!(null)), Finish::Stop, 2),
        ("finish max_tokens", finish(json!("max_tokens")), Finish::Length, 2),
        (
            "finish null at the limit",
            changed(|a| (a["choices"][0]["finish_reason"], a["usage"]["completion_tokens"]) = (json!(null), json!(20))),
            Finish::Length,
            20,
        ),
        (
            "finish missing",
            changed(|a| drop(a["choices"][0].as_object_mut().unwrap().remove("finish_reason"))),
            Finish::Stop,
            2,
        ),
        ("float", tokens(json!(2.0)), Finish::Stop, 2),
        ("text", tokens(json!("2")), Finish::Stop, 2),
        ("null", tokens(json!(null)), Finish::Stop, 0),
        ("negative", tokens(json!(-1)), Finish::Stop, 0),
        ("enormous", tokens(json!(u64::MAX)), Finish::Stop, 0),
        ("a list", tokens(json!([2])), Finish::Stop, 0),
        ("no usage", changed(|answer| drop(answer.as_object_mut().unwrap().remove("usage"))), Finish::Stop, 0),
        ("usage null", changed(|answer| answer["usage"] = json!(null)), Finish::Stop, 0),
        ("logprobs null", changed(|answer| answer["choices"][0]["logprobs"] = json!(null)), Finish::Stop, 2),
        (
            "a second choice first",
            changed(|answer| {
                answer["choices"].as_array_mut().unwrap().insert(0, json!({"index": 1, "message": {"content": "5"}}))
            }),
            Finish::Stop,
            2,
        ),
        ("content as one part", message(json!({"content": {"type": "text", "text": "4"}})), Finish::Stop, 2),
        (
            "a refusal beside it",
            message(json!({"content": [{"type": "refusal", "refusal": "no"}, {"type": "output_text", "text": "4"}]})),
            Finish::Stop,
            2,
        ),
        ("refusal null", message(json!({"content": "4", "refusal": null, "audio": null})), Finish::Stop, 2),
        (
            "more choices than asked for",
            changed(|answer| {
                let choices = answer["choices"].as_array_mut().unwrap();
                choices.push(json!({"index": 1, "message": {"content": "5"}, "finish_reason": "length"}));
            }),
            Finish::Stop,
            2,
        ),
        ("index missing", changed(|a| drop(a["choices"][0].as_object_mut().unwrap().remove("index"))), Finish::Stop, 2),
        ("index 3", changed(|answer| answer["choices"][0]["index"] = json!(3)), Finish::Stop, 2),
        (
            "logprobs of nulls",
            changed(|answer| {
                answer["choices"][0]["logprobs"] = json!({"content": null, "tokens": null, "token_logprobs": null})
            }),
            Finish::Stop,
            2,
        ),
        (
            "enormous in all places",
            changed(|answer| {
                let most = json!(u64::MAX);
                answer["usage"] = json!({"prompt_tokens": most, "completion_tokens": most, "total_tokens": most});
            }),
            Finish::Stop,
            0,
        ),
        ("error null", changed(|answer| answer["error"] = json!(null)), Finish::Stop, 2),
    ];
    for (name, answer, finish, tokens) in cases {
        let server = answering(move || Reply::Json(answer.clone()));
        let mut remote = connect(&server, "").unwrap_or_else(|error| panic!("{name}: {error}"));
        let completion = ask(&mut remote).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((completion.text.as_str(), completion.finish), ("4", finish), "{name}");
        assert_eq!(remote.stats().generated_tokens, tokens, "{name}");
    }
    // Nothing but reasoning is an answer without text, and what a server gave up on is none.
    let server = answering(move || Reply::Json(message(json!({"content": null, "reasoning_content": "It is 4."}))));
    assert_eq!(ask(&mut connect(&server, "").unwrap()).unwrap().text, "");
    let server = answering(move || Reply::Json(finish(json!("content_filter"))));
    assert!(ask(&mut connect(&server, "").unwrap()).unwrap_err().contains("got \"content_filter\""));
}

#[test]
fn bodies_of_other_shapes_are_read() {
    let answer = changed(|_| ()).to_string();
    let chunk = |text: &str, finish: Value| {
        json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}).to_string()
    };
    let (first, last) = (chunk("4", json!(null)), chunk("", json!("stop")));
    let stream = |end: &str| {
        format!(": hi{end}{end}event: chunk{end}data: {first}{end}{end}data: {last}{end}{end}data: [DONE]{end}{end}")
    };
    for (name, body) in [
        ("byte order mark", format!("\u{feff}{answer}")),
        ("blank lines", format!("\r\n \n\t{answer}\n\n")),
        ("blank lines and mark", format!("\n\n\u{feff}{answer}")),
        ("mark and blank lines", format!("\u{feff}\n{answer}")),
        ("stream", stream("\n")),
        ("stream with CRLF", stream("\r\n")),
        ("stream with CR", stream("\r")),
        ("stream with a mark", format!("\u{feff}{}", stream("\n"))),
        ("stream without DONE", format!("data: {first}\n\ndata: {last}\n\n")),
        ("stream without a reason", format!("data: {first}\n\ndata: [DONE]\n\n")),
        ("stream with events of nothing", format!("data:\n\nid: 7\nretry: 10\n\n{}", stream("\n"))),
        (
            "stream of two choices, usage without choices",
            format!(
                "data: {}\n\ndata: {first}\n\ndata: {last}\n\ndata: {}\n\ndata: [DONE]\n\n",
                json!({"choices": [{"index": 1, "delta": {"content": "5"}, "finish_reason": "length"}]}),
                json!({"usage": {"completion_tokens": 2}})
            ),
        ),
        ("stream of a whole message", format!("data: {answer}\n\ndata: [DONE]\n\n")),
    ] {
        let server = answering(move || raw("Content-Type: text/plain\r\n", &body));
        let completion = ask(&mut connect(&server, "").unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((completion.text.as_str(), completion.finish), ("4", Finish::Stop), "{name}");
    }
    // A stream of its end alone, and one that failed, are no empty answers.
    let failed = format!("data: {first}\n\ndata: {}\n\ndata: [DONE]\n\n", json!({"error": {"message": "boom"}}));
    for (body, why) in [("data: [DONE]\n\n".to_owned(), "got []"), (failed, "boom")] {
        let server = answering(move || raw("", &body));
        let error = ask(&mut connect(&server, "").unwrap()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    // A stream that breaks off is asked for again.
    let half = format!("data: {first}\n\n");
    let server = Server::new(move |call| match (call.path.as_str(), call.before) {
        ("/v1/models", _) => Reply::Json(models()),
        (_, 0) => raw("", &half),
        _ => Reply::Json(changed(|_| ())),
    });
    let mut remote = connect(&server, "").unwrap();
    assert_eq!((ask(&mut remote).unwrap().text.as_str(), remote.stats().retries), ("4", 1));
}

#[test]
fn a_named_model_needs_no_list() {
    let lists: [(&str, fn() -> Reply, Result<(), &str>); 9] = [
        ("OpenAI's", || Reply::Json(models()), Ok(())),
        ("bare", || Reply::Json(json!([{"id": "tiny"}])), Ok(())),
        ("of names", || Reply::Json(json!({"data": ["tiny"]})), Ok(())),
        ("Ollama's", || Reply::Json(json!({"models": [{"name": "tiny", "model": "tiny"}]})), Ok(())),
        ("403", || Reply::Status(403, "", "{}".to_owned()), Err("expected status 200, got 403")),
        ("404", || Reply::Status(404, "", String::new()), Err("no list of them")),
        ("500", || Reply::Status(500, "", "oops".to_owned()), Err("expected status 200, got 500")),
        ("HTML", || raw("Content-Type: text/html\r\n", "<h1>Hello</h1>"), Err("expected JSON, got \"<h1>Hello</h1>\"")),
        ("null", || Reply::Json(json!({"data": null})), Err("expected the list of models under `data`")),
    ];
    for (name, list, unnamed) in lists {
        let server =
            Server::new(move |call| if call.path == "/v1/models" { list() } else { Reply::Json(changed(|_| ())) });
        let mut remote = connect(&server, "#tiny").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ask(&mut remote).unwrap_or_else(|error| panic!("{name}: {error}")).text, "4");
        match (connect(&server, ""), unnamed) {
            (Ok(remote), Ok(())) => assert_eq!(remote.model(), "tiny", "{name}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{name}: {error}"),
            (got, _) => panic!("{name}: {:?}", got.map(|remote| remote.model().to_owned())),
        }
    }
}

#[test]
fn a_wait_may_be_asked_for_as_a_date() {
    // The server's own clock says how long it is until then.
    let server = Server::new(move |call| match (call.path.as_str(), call.before) {
        ("/v1/models", _) => Reply::Json(models()),
        (_, 0) => {
            let dates = "Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:28:01 GMT\r\n";
            Reply::Raw(format!("HTTP/1.1 429 X\r\nContent-Length: 0\r\nConnection: close\r\n{dates}\r\n").into_bytes())
        }
        _ => Reply::Json(changed(|_| ())),
    });
    let started = Instant::now();
    assert_eq!(ask(&mut connect(&server, "").unwrap()).unwrap().text, "4");
    assert!(started.elapsed() >= Duration::from_secs(1), "it waited for less than was asked for");
}

#[test]
fn refused_parameters_can_be_left_out() {
    let server = answering_to(|body| body.get("top_p").is_some().then_some("Unsupported parameter: 'top_p'"));
    let error = ask(&mut connect(&server, "").unwrap()).unwrap_err();
    assert!(error.contains("got 400: Unsupported parameter: 'top_p'; --drop-params top_p leaves it out"), "{error}");
    let changes = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        connect(&server, "").unwrap().with_changes(names, Map::new()).map_err(|error| error.to_string())
    };
    let mut remote = changes(&["top_p", "seed"]).unwrap();
    assert_eq!(ask(&mut remote).unwrap().text, "4");
    let body = server.calls().last().unwrap().body.clone();
    assert!(body.get("top_p").is_none() && body.get("seed").is_none() && body.get("temperature").is_some(), "{body}");
    assert_eq!(remote.drop_params(), ["seed", "top_p"]);
    assert_eq!(changes(&["seed", "top_p", "seed"]).unwrap().drop_params(), remote.drop_params());
    for needed in ["messages", "model", "stream", "tok_p"] {
        let error = changes(&[needed]).unwrap_err();
        assert!(
            error.contains("drop_params: expected some of temperature, seed, ")
                && error.ends_with(&format!("got `{needed}`")),
            "{error}"
        );
    }
    // Arguments of the server's template go along with conversations.
    let kwargs = json!({"enable_thinking": false});
    let remote =
        connect(&server, "").unwrap().with_changes(vec!["top_p".to_owned()], kwargs.as_object().unwrap().clone());
    assert_eq!(ask(&mut remote.unwrap()).unwrap().text, "4");
    assert_eq!(server.calls().last().unwrap().body["chat_template_kwargs"], kwargs);
}

#[test]
fn what_cannot_be_left_out_is_not_offered() {
    let server = answering_to(|body| body.get("chat_template_kwargs").and(Some("unknown field chat_template_kwargs")));
    let kwargs = json!({"enable_thinking": false}).as_object().unwrap().clone();
    let error = ask(&mut connect(&server, "").unwrap().with_changes(Vec::new(), kwargs).unwrap()).unwrap_err();
    assert!(error.ends_with("got 400: unknown field chat_template_kwargs"), "{error}");
}

#[test]
fn left_out_parameters_leave_no_log_probabilities_of_another_distribution() {
    let answer = json!({"choices": [{"index": 0, "text": "4", "finish_reason": "stop", "token_ids": [1, 2],
        "logprobs": {"token_logprobs": [-0.5, -0.25]}}], "usage": {"completion_tokens": 2}});
    let server = Server::of("vllm", move |_| Reply::Json(answer.clone()));
    for (dropped, known) in [(vec![], true), (vec!["seed", "max_tokens"], true), (vec!["temperature"], false)] {
        let names = dropped.iter().map(|&name: &&str| name.to_owned()).collect();
        let address = Address::parse(&server.url).unwrap();
        let remote = Remote::connect(&address, Prompts::Tokens, &options()).unwrap();
        let mut remote = remote.with_changes(names, Map::new()).unwrap();
        let sampling = Sampling { max_tokens: 20, ..Sampling::default() };
        remote.submit(Request { id: 1, prompt: vec![5], sampling, seed: Seed(1) }).unwrap();
        let completion = wait(&mut remote).unwrap();
        assert_eq!((completion.tokens.len(), completion.logprobs.len()), (2, if known { 2 } else { 0 }), "{dropped:?}");
    }
}

/// A server that refuses requests with `why`'s words.
fn answering_to(why: impl Fn(&Value) -> Option<&'static str> + Send + Sync + 'static) -> Server {
    Server::new(move |call| match (call.path.as_str(), why(&call.body)) {
        ("/v1/models", _) => Reply::Json(models()),
        (_, Some(why)) => Reply::Status(400, "", json!({"error": {"message": why}}).to_string()),
        _ => Reply::Json(changed(|_| ())),
    })
}
