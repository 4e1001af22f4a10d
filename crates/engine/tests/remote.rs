//! The remote engine against servers that answer well, badly, late or not at all.

mod standin;

use std::time::{Duration, Instant};

use relign_core::{Completion, Constraint, Finish, Generate, GenerateError, Message, Request, Sampling, Seed};
use relign_engine::remote::{Address, ApiKey, Prompts, Remote, RemoteOptions, Spelling};
use serde_json::{Value, json};
use standin::{Reply, Server, completion};

/// What a test waits for at most; nothing here should take a hundredth of it.
const FOREVER: Duration = Duration::from_secs(120);

fn options() -> RemoteOptions {
    RemoteOptions {
        concurrency: 8,
        backoff: Duration::from_millis(2),
        longest_wait: Duration::from_secs(5),
        retries: 3,
        ..RemoteOptions::default()
    }
}

fn connect(server: &Server, prompts: Prompts, options: &RemoteOptions) -> Remote {
    let address = Address::parse(&server.url).expect("an address");
    Remote::connect(&address, prompts, options).expect("a server that lists its model")
}

fn request(id: u64, prompt: Vec<u32>) -> Request {
    let sampling = Sampling { max_tokens: 20, ..Sampling::default() };
    Request { id, prompt, sampling, seed: Seed(id) }
}

/// Everything in flight, by id.
fn drain(remote: &mut Remote) -> Vec<(u64, Result<Completion, String>)> {
    let started = Instant::now();
    let mut all = Vec::new();
    while remote.in_flight() > 0 {
        assert!(started.elapsed() < FOREVER, "{} requests hang", remote.in_flight());
        match remote.poll() {
            Ok(completions) => all.extend(completions.into_iter().map(|c| (c.id, Ok(c)))),
            Err(GenerateError::Failed { id, what }) => all.push((id, Err(what))),
            Err(broken) => panic!("{broken}"),
        }
    }
    all.sort_by_key(|(id, _)| *id);
    all
}

#[test]
fn ids_go_out_and_ids_come_back() {
    let server = Server::of("vllm", |call| Reply::Json(completion(&format!("to {}", call.first()))));
    let mut remote = connect(&server, Prompts::Tokens, &options());
    assert_eq!((remote.kind(), remote.model(), remote.context()), ("vLLM", "tiny", Some(100)));
    for id in 0..20 {
        remote.submit(request(id, vec![id as u32, 7])).unwrap();
    }
    for (id, completion) in drain(&mut remote) {
        let completion = completion.unwrap();
        assert_eq!((completion.text, completion.finish), (format!("to {id}"), Finish::Stop));
        assert_eq!(completion.tokens, format!("to {id}").bytes().map(u32::from).collect::<Vec<_>>());
        assert_eq!(completion.logprobs, vec![-0.5; completion.tokens.len()]);
    }
    let calls = server.calls();
    assert_eq!(calls.len(), 20);
    for call in &calls {
        assert_eq!(call.path, "/v1/completions");
        assert_eq!(call.body["prompt"], json!([call.first(), 7]));
        assert_eq!((&call.body["model"], &call.body["max_tokens"]), (&json!("tiny"), &json!(20)));
    }
    let mut seeds: Vec<u64> = calls.iter().map(|call| call.body["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert!(seeds.iter().all(|&seed| seed > 0 && seed <= i32::MAX as u64));
    let stats = remote.stats();
    assert_eq!((stats.answers, stats.failed, stats.retries, stats.uncounted), (20, 0, 0, 0));
    assert!(remote.poll().unwrap().is_empty(), "nothing to do");
    // The context's end is the end of an answer, and of a prompt.
    remote.submit(request(1, vec![5; 90])).unwrap();
    drain(&mut remote);
    assert_eq!(server.calls()[20].body["max_tokens"], 10);
    let long = remote.submit(request(1, vec![5; 100])).unwrap_err();
    assert!(matches!(long, GenerateError::TooLong { tokens: 100, context: 100, .. }), "{long}");
}

/// Letters are tokens, and 1 is a special one.
struct Letters;

impl Spelling for Letters {
    fn spell(&self, tokens: &[u32]) -> String {
        tokens
            .iter()
            .map(|&token| if token == 1 { "<|1|>".into() } else { char::from(token as u8).to_string() })
            .collect()
    }

    fn read(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

/// A stream of events, each of some text.
fn streamed(texts: &[&str], finish: Option<&str>, end: &str) -> Reply {
    let mut all = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".to_owned();
    for text in texts {
        all += &format!("data: {}\r\n\r\n", json!({"choices": [{"text": text, "finish_reason": null}]}));
    }
    if let Some(finish) = finish {
        all += &format!("data: {}\r\n\r\n", json!({"choices": [{"text": "", "finish_reason": finish}]}));
    }
    Reply::Raw((all + end).into_bytes())
}

#[test]
fn a_server_of_texts_is_sent_text_and_its_answers_are_cut_here() {
    let server = Server::of("me", |call| {
        let prompt = call.body["prompt"].as_str().expect("text");
        match (prompt, call.body["stream"].as_bool()) {
            ("<|1|>a", Some(true)) => streamed(&["on", "e\n", "\ntw"], None, ""),
            ("<|1|>b", Some(true)) => streamed(&["on", "e"], Some("stop"), "data: [DONE]\r\n\r\n"),
            ("<|1|>c", Some(true)) => streamed(&["on"], Some("length"), ""),
            // Ended by another's request, as it does; then whole.
            ("<|1|>d", Some(true)) if call.before == 0 => streamed(&["o"], None, "data: [DONE]\r\n\r\n"),
            ("<|1|>d", Some(true)) => streamed(&["o"], Some("stop"), "data: [DONE]\r\n\r\n"),
            ("<|1|>e", Some(true)) => streamed(&[], None, "data: {\"error\": \"boom\"}\r\n\r\n"),
            ("<|1|>f", Some(true)) => streamed(&[], None, "data: {\r\n\r\n"),
            ("<|1|>a", Some(false)) => Reply::Json(json!({"choices": [{"text": "x\ny", "finish_reason": "stop"}]})),
            other => panic!("{other:?}"),
        }
    });
    let mut remote = connect(&server, Prompts::Tokens, &options()).spelled_by(std::sync::Arc::new(Letters));
    remote.read_answers();
    let step = |id, letter: u8| Request {
        sampling: Sampling { stop: vec!["\n\n".into()], max_tokens: 20, ..Sampling::default() },
        ..request(id, vec![1, letter.into()])
    };
    for (id, letter) in (0..).zip(*b"abcdef") {
        remote.submit(step(id, letter)).unwrap();
    }
    let bytes = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    let mut outcomes = drain(&mut remote).into_iter().map(|(_, outcome)| outcome);
    for (text, said, finish) in [
        ("one", "one\n\n", Finish::StopString),
        ("one", "one", Finish::Stop),
        ("on", "on", Finish::Length),
        ("o", "o", Finish::Stop),
    ] {
        let got = outcomes.next().unwrap().unwrap();
        assert_eq!((got.text.as_str(), got.tokens, got.finish), (text, bytes(said), finish));
        assert!(got.logprobs.is_empty());
    }
    assert!(outcomes.next().unwrap().unwrap_err().contains("got the error \"boom\""));
    assert!(outcomes.next().unwrap().unwrap_err().contains("expected an event in JSON"));
    assert!(server.calls().iter().all(|call| call.body.get("stop").is_none()));
    assert_eq!((server.most_at_once(), remote.stats().retries), (1, 1));
    remote.submit(request(0, vec![1, b'a'.into()])).unwrap();
    assert_eq!(drain(&mut remote).remove(0).1.unwrap().tokens, bytes("x\ny"));
    // Nothing is read unless that is asked for, and ids are not sent in vain.
    let mut remote = connect(&server, Prompts::Tokens, &options()).spelled_by(std::sync::Arc::new(Letters));
    remote.submit(request(0, vec![1, b'a'.into()])).unwrap();
    assert!(drain(&mut remote).remove(0).1.unwrap().tokens.is_empty());
    let error = connect(&server, Prompts::Tokens, &options()).submit(request(0, vec![1])).unwrap_err();
    assert!(error.to_string().contains("prompt: expected text, for llama-cpp-python takes no token ids"), "{error}");
}

#[test]
fn a_server_that_nobody_knows_is_tried() {
    for (takes, sent) in [(true, json!([1, 97])), (false, json!("<|1|>a"))] {
        let server = Server::of("someone", move |call| match &call.body["prompt"] {
            Value::Array(_) if !takes => Reply::Status(400, "", "no list".into()),
            _ => Reply::Json(json!({"choices": [{"text": "b", "finish_reason": "stop"}]})),
        });
        let mut remote = connect(&server, Prompts::Tokens, &options()).spelled_by(std::sync::Arc::new(Letters));
        remote.read_answers();
        remote.submit(request(0, vec![1, 97])).unwrap();
        assert_eq!(drain(&mut remote).remove(0).1.unwrap().tokens, [98]);
        assert_eq!(server.calls().last().unwrap().body["prompt"], sent);
    }
}

#[test]
fn what_a_server_does_not_tell_stays_unknown() {
    let server = Server::of("someone", |call| {
        assert!(call.body.get("logprobs").is_none() && call.body.get("top_k").is_none(), "words that not all know");
        Reply::Json(json!({"choices": [{"message": {"content": "four"}, "finish_reason": "length"}],
            "usage": {"completion_tokens": 3}}))
    });
    let mut remote = connect(&server, Prompts::Conversations, &options());
    let messages = [Message::system("short"), Message::user("2 + 2?")];
    remote.submit_conversation(request(4, vec![]), &messages).unwrap();
    let (_, completion) = drain(&mut remote).remove(0);
    let completion = completion.unwrap();
    assert_eq!((completion.text.as_str(), completion.finish), ("four", Finish::Length));
    assert!(completion.tokens.is_empty() && completion.logprobs.is_empty());
    assert_eq!(remote.stats().generated_tokens, 3);
    let call = server.calls().remove(0);
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(call.body["messages"][1], json!({"role": "user", "content": "2 + 2?"}));
    for (error, said) in [
        (remote.submit(request(1, vec![1])).unwrap_err(), "expected a conversation"),
        (remote.submit_conversation(request(1, vec![1]), &messages).unwrap_err(), "prompt: expected none"),
        (remote.submit_conversation(request(1, vec![]), &[]).unwrap_err(), "at least one message"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn given_tokens_are_scored_where_the_server_can() {
    let server = Server::of("vllm", |call| {
        assert_eq!((&call.body["prompt_logprobs"], &call.body["max_tokens"]), (&json!(1), &json!(1)));
        let mut answer = completion("!");
        let said = |logprob: f64, rank: u64| json!({"logprob": logprob, "rank": rank, "decoded_token": "?"});
        answer["choices"][0]["prompt_logprobs"] =
            json!([null, {"2": said(-0.5, 1)}, {"3": said(-4.0, 12), "9": said(-0.25, 1)}]);
        Reply::Json(answer)
    });
    let mut remote = connect(&server, Prompts::Tokens, &options());
    let sampling = Sampling { max_tokens: 0, score_from: Some(2), top_logprobs: Some(1), ..Sampling::default() };
    remote.submit(Request { sampling, ..request(1, vec![1, 2, 3]) }).unwrap();
    let scored = drain(&mut remote).remove(0).1.unwrap();
    // The token that the server had to sample is nobody's.
    assert_eq!((scored.text.as_str(), scored.tokens.len(), scored.finish), ("", 0, Finish::Length));
    assert_eq!(remote.stats().generated_tokens, 0);
    let [odds] = &scored.prompt_odds[..] else { panic!("{scored:?}") };
    assert_eq!((odds.logprob, odds.rank, &odds.model[..]), (-4.0, Some(12), &[(9, -0.25)][..]));
}

#[test]
fn senseless_requests_are_refused_and_harm_nobody() {
    let server = Server::of("me", |_| Reply::Json(completion("fine")));
    let mut remote = connect(&server, Prompts::Tokens, &options()).spelled_by(std::sync::Arc::new(Letters));
    let good = request(1, vec![1]);
    remote.submit(good.clone()).unwrap();
    let with = |sampling: Sampling| Request { id: 2, sampling, ..good.clone() };
    for (request, said) in [
        (good.clone(), "an id of its own"),
        (request(2, vec![]), "at least one token"),
        (with(Sampling { temperature: f32::NAN, ..Sampling::default() }), "temperature: expected 0 or more, got NaN"),
        (with(Sampling { max_tokens: 0, ..Sampling::default() }), "max_tokens: expected at least 1"),
        (with(Sampling { stop: vec![String::new()], ..Sampling::default() }), "stop: expected strings"),
        (with(Sampling { stop_tokens: vec![2], ..Sampling::default() }), "llama-cpp-python does not take them"),
        (with(Sampling { ignore_eos: true, ..Sampling::default() }), "ignore_eos: expected false"),
    ] {
        let error = remote.submit(request).unwrap_err();
        assert!(matches!(error, GenerateError::Invalid { .. }) && error.to_string().contains(said), "{error}");
    }
    assert_eq!(drain(&mut remote).len(), 1);
}

#[test]
fn settings_are_heard_or_refused_and_constraints_kept_or_failed() {
    let server = Server::of("vllm", |call| {
        let asked = &call.body["structured_outputs"]["regex"];
        Reply::Json(completion(if asked.is_null() { "free" } else { ["17", "maybe 17"][call.first() as usize] }))
    });
    let mut remote = connect(&server, Prompts::Tokens, &options());
    let shaped = Sampling { top_k: 20, top_p: 0.9, min_p: 0.1, logit_bias: [(5, 1.5)].into(), ..Sampling::default() };
    let bound = Sampling { constraint: Some(Constraint::Regex("[0-9]+".into())), ..Sampling::default() };
    remote.submit(Request { sampling: shaped, ..request(9, vec![9]) }).unwrap();
    for id in 0..2 {
        remote.submit(Request { sampling: bound.clone(), ..request(id, vec![id as u32]) }).unwrap();
    }
    let all = drain(&mut remote);
    assert_eq!(all[0].1.as_ref().unwrap().text, "17");
    let error = all[1].1.as_ref().unwrap_err();
    assert!(error.contains("expected an answer that matches \"[0-9]+\", as asked for, got \"maybe 17\""), "{error}");
    // Its log-probabilities are the model's own, and that is not what was sampled from.
    let free = all[2].1.as_ref().unwrap();
    assert!(free.tokens.len() == 4 && free.logprobs.is_empty());
    let call = server.calls().into_iter().find(|call| call.first() == 9).unwrap();
    for (word, value) in
        [("top_k", json!(20)), ("top_p", json!(0.9)), ("min_p", json!(0.1)), ("logit_bias", json!({"5": 1.5}))]
    {
        assert_eq!(call.body[word], value);
    }
    let plain = Server::of("someone", |_| Reply::Json(completion("x")));
    let mut remote = connect(&plain, Prompts::Tokens, &options());
    let refused =
        remote.submit(Request { sampling: Sampling { min_p: 0.1, ..Sampling::default() }, ..request(1, vec![1]) });
    assert!(refused.unwrap_err().to_string().contains("min_p: expected 0, for OpenAI-compatible server is not known"));
}

fn ok(text: &str) -> Vec<u8> {
    let body = completion(text).to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn what_another_try_can_mend_is_tried_again() {
    let server = Server::of("vllm", |call| match (call.first(), call.before) {
        (0, 0) => Reply::Raw(Vec::new()), // closes at once
        (1, 0) => Reply::Raw(ok("cut off in the middle")[..90].to_vec()),
        (2, 0) => Reply::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhalf".to_vec()),
        (3, 0) => Reply::Status(429, "Retry-After: 1", String::new()),
        (4, 0..=1) => Reply::Status(500, "", "<html>oops".to_owned()),
        (5, 0..=2) => Reply::Status(503, "Retry-After: 0", String::new()),
        (6, 0) => Reply::Status(408, "", String::new()),
        (first, _) => Reply::Json(completion(&format!("{first} at last"))),
    });
    let mut remote = connect(&server, Prompts::Tokens, &options());
    for id in 0..8 {
        remote.submit(request(id, vec![id as u32])).unwrap();
    }
    for (id, completion) in drain(&mut remote) {
        assert_eq!(completion.unwrap().text, format!("{id} at last"));
    }
    let tries = |first| server.calls().iter().filter(|call| call.first() == first).count();
    assert_eq!((0..8).map(tries).collect::<Vec<_>>(), [2, 2, 2, 2, 3, 4, 2, 1]);
    assert_eq!(remote.stats().retries, 10);
}

#[test]
fn what_cannot_be_mended_fails_alone_and_says_why() {
    let forever = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\"";
    let server = Server::of("vllm", move |call| match call.first() {
        0 => Reply::Status(500, "", json!({"error": {"message": "out of memory"}}).to_string()),
        1 => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"choice\xff".to_vec()),
        2 => Reply::Json(json!({"choices": [{"text": 7, "finish_reason": "stop"}]})),
        3 => Reply::Json(Value::String("x".repeat(200_000))),
        4 => Reply::Stall(Vec::new()),
        5 => Reply::Stall(forever.as_bytes().to_vec()),
        6 => Reply::Status(400, "", json!({"message": "context length is 100"}).to_string()),
        7 => Reply::Status(302, "Location: http://127.0.0.1:9/", String::new()),
        8 => Reply::Status(401, "", String::new()),
        9 => Reply::Status(429, "Retry-After: 3600", String::new()),
        10 => Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        11 => Reply::Raw(Vec::new()),
        12 => Reply::Json(json!({"choices": [{"text": "x", "finish_reason": "stop", "token_ids": ["a"]}]})),
        first => Reply::Json(completion(&first.to_string())),
    });
    let options = RemoteOptions {
        first_byte: Duration::from_millis(1500),
        whole: Duration::from_millis(3000),
        answer_bytes: 100_000,
        concurrency: 40,
        ..options()
    };
    let mut remote = connect(&server, Prompts::Tokens, &options);
    for id in 0..30 {
        remote.submit(request(id, vec![id as u32])).unwrap();
    }
    let said = [
        "expected status 200, got 500: out of memory (4 tries)",
        "expected JSON, got \"{\\\"choice",
        "choices[0].text: expected text, got 7",
        "expected an answer of at most 100000 bytes, got more",
        "expected the beginning of an answer within 1.5s, got nothing",
        "expected a whole answer within 3s, got nothing",
        "got 400: context length is 100",
        "expected status 200, got 302",
        "got 401; no key was sent",
        "got 429; it asks for a wait of 3600s, longer than 5s",
        "expected an answer, got none",
        "(4 tries)",
        "choices[0].token_ids[0]: expected a token id, got \"a\"",
    ];
    for (id, outcome) in drain(&mut remote) {
        match (said.get(id as usize), outcome) {
            (Some(said), Err(error)) => {
                assert!(error.contains(said) && error.starts_with(&server.url), "{id}: {error}\nexpected: {said}");
            }
            (None, Ok(completion)) => assert_eq!(completion.text, id.to_string()),
            (_, other) => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(remote.stats().failed, said.len() as u64);
    let tries = |first| server.calls().iter().filter(|call| call.first() == first).count();
    assert_eq!((0..13).map(tries).collect::<Vec<_>>(), [4, 1, 1, 1, 1, 1, 1, 1, 1, 1, tries(10), 4, 1]);
}

#[test]
fn a_server_that_is_gone_does_not_cost_every_request_its_waits() {
    let server = Server::of("vllm", |_| Reply::Raw(Vec::new()));
    let mut remote = connect(&server, Prompts::Tokens, &RemoteOptions { concurrency: 4, ..options() });
    for id in 0..40 {
        remote.submit(request(id, vec![id as u32])).unwrap();
    }
    assert!(drain(&mut remote).iter().all(|(_, outcome)| outcome.is_err()));
    let tries = server.calls().len();
    assert!((40..80).contains(&tries), "{tries} tries of 40 requests, with all waits there would be 160");
}

#[test]
fn cancelled_requests_come_back_at_once_and_their_ids_are_free() {
    let server = Server::of("vllm", |call| match call.first() {
        1 => Reply::Stall(Vec::new()),
        2 => Reply::Status(500, "Retry-After: 5", String::new()),
        _ => Reply::Json(completion("done")),
    });
    let mut remote = connect(&server, Prompts::Tokens, &RemoteOptions { concurrency: 2, ..options() });
    for (id, first) in [(1, 1), (2, 2), (3, 3)] {
        remote.submit(request(id, vec![first])).unwrap();
    }
    while server.calls().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The one that waits for a thread first: cancelling another gives it that one's.
    for id in [3, 1, 2, 99] {
        remote.cancel(id);
    }
    assert_eq!(remote.in_flight(), 3);
    let cancelled = remote.poll().unwrap();
    let ends: Vec<_> = cancelled.iter().map(|completion| (completion.id, completion.finish)).collect();
    assert_eq!(ends, [(3, Finish::Cancelled), (1, Finish::Cancelled), (2, Finish::Cancelled)]);
    assert_eq!(remote.in_flight(), 0);
    // The thread that waited for another try is free, the request that was not sent never is.
    remote.submit(request(2, vec![4])).unwrap();
    let (id, completion) = drain(&mut remote).remove(0);
    assert_eq!((id, completion.unwrap().text.as_str()), (2, "done"));
    assert!(server.calls().iter().all(|call| call.first() != 3));
    // The first still waits for its server; that holds nobody up.
    drop(remote);
}

#[test]
fn no_more_than_the_limit_are_on_their_way_at_once() {
    let server = Server::of("vllm", |_| Reply::Late(Duration::from_millis(30), completion("x")));
    let mut remote = connect(&server, Prompts::Tokens, &RemoteOptions { concurrency: 3, ..options() });
    for id in 0..15 {
        remote.submit(request(id, vec![id as u32])).unwrap();
    }
    assert_eq!(drain(&mut remote).len(), 15);
    assert_eq!(server.most_at_once(), 3);
}

#[test]
fn the_key_is_sent_and_never_shown() {
    let server = Server::of("vllm", |call| match &call.key {
        Some(key) if key == "Bearer s3cret" && call.first() == 1 => Reply::Json(completion("in")),
        key => Reply::Status(403, "", format!("{key:?} may not")),
    });
    let options = RemoteOptions { key: Some(ApiKey::new("s3cret")), ..options() };
    let mut remote = connect(&server, Prompts::Tokens, &options);
    remote.submit(request(1, vec![1])).unwrap();
    remote.submit(request(2, vec![2])).unwrap();
    let all = drain(&mut remote);
    assert_eq!(all[0].1.as_ref().unwrap().text, "in");
    let error = all[1].1.as_ref().unwrap_err();
    assert!(error.contains("got 403") && !error.contains("s3cret"), "{error}");
    assert!(!format!("{remote:?}").contains("s3cret"));
}

#[test]
fn a_servers_own_tokens_can_be_asked_for() {
    let asked = |owner, reply: fn(&Value) -> Reply| {
        let server = Server::of(owner, move |call| {
            assert_eq!(call.path, if owner == "me" { "/extras/tokenize" } else { "/tokenize" });
            reply(&call.body)
        });
        connect(&server, Prompts::Tokens, &options()).tokens_of("<|x|>a").map_err(|error| error.to_string())
    };
    let vllm = |body: &Value| match (&body["prompt"], &body["add_special_tokens"]) {
        (Value::String(text), Value::Bool(false)) => Reply::Json(json!({"count": 1, "tokens": [text.len()]})),
        _ => Reply::Status(400, "", body.to_string()),
    };
    assert_eq!(asked("vllm", vllm), Ok(Some(vec![6])));
    let llama = |body: &Value| match (&body["content"], &body["parse_special"]) {
        (Value::String(text), Value::Bool(true)) => Reply::Json(json!({"tokens": [text.len(), 1]})),
        _ => Reply::Status(400, "", body.to_string()),
    };
    assert_eq!(asked("llamacpp", llama), Ok(Some(vec![6, 1])));
    let python = |body: &Value| Reply::Json(json!({"tokens": [body["input"].as_str().map(str::len)]}));
    assert_eq!(asked("me", python), Ok(Some(vec![6])));
    assert_eq!(asked("someone", llama), Ok(None));
    assert_eq!(asked("vllm", |_| Reply::Status(404, "", String::new())), Ok(None));
    let error = asked("vllm", |_| Reply::Json(json!({"tokens": ["a"]}))).unwrap_err();
    assert!(error.contains("/tokenize: tokens: expected a list of ids, got {\"tokens\":[\"a\"]}"), "{error}");
}

#[test]
fn the_model_is_found_or_asked_for() {
    let model = |reply: fn() -> Reply, wanted: &str| {
        let server = Server::new(move |_| reply());
        let address = Address::parse(&format!("{}#{wanted}", server.url)).unwrap();
        Remote::connect(&address, Prompts::Tokens, &options()).map(|remote| remote.model().to_owned())
    };
    assert_eq!(model(|| Reply::Json(json!({"data": [{"id": "a"}]})), "").unwrap(), "a");
    assert_eq!(model(|| Reply::Json(json!({"data": [{"id": "a"}, {"id": "b"}]})), "b").unwrap(), "b");
    assert_eq!(model(|| Reply::Status(404, "", String::new()), "own").unwrap(), "own");
    for (reply, said) in [
        ((|| Reply::Json(json!({"data": [{"id": "a"}, {"id": "b"}]}))) as fn() -> Reply, "got 2: a, b; name one"),
        (|| Reply::Status(404, "", String::new()), "expected one model, got no list of them; name one"),
        (|| Reply::Json(json!({"models": []})), "expected one model, got no list of them; name one"),
        (|| Reply::Json(json!({"list": []})), "expected the list of models under `data`, got {\"list\":[]}"),
        (|| Reply::Json(json!({"data": [{"id": 7}]})), "data[0].id: expected a model's name, got {\"id\":7}"),
        (|| Reply::Status(401, "", String::new()), "got 401; no key was sent"),
        (|| Reply::Raw(b"hello\n".to_vec()), "expected an answer, got none"),
    ] {
        let error = model(reply, "").unwrap_err().to_string();
        assert!(error.contains(said) && error.starts_with("http://127.0.0.1:"), "{error}\nexpected: {said}");
    }
    // Nobody listens: the port was given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = Address::parse(&format!("http://{closed}/v1")).unwrap();
    let error = Remote::connect(&address, Prompts::Tokens, &options()).unwrap_err().to_string();
    assert!(error.contains(&closed.to_string()) && error.contains("refused"), "{error}");
}
