//! Rewards that ask servers, against servers that answer well, badly, late or not at all.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "../../engine/tests/standin/mod.rs"]
mod standin;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use relign_core::{Environment, JsonText, Message, Reward, RewardSection, Score, Split, Task, Transcript, Verdict};
use serde_json::{Value, json};
use standin::{Call, Reply, Server};

/// No tasks of its own.
struct Nothing;

impl Environment for Nothing {
    fn len(&self, _: Split) -> Option<u64> {
        Some(0)
    }

    fn task(&self, _: Split, _: u64) -> Result<Task, String> {
        Err("none".to_owned())
    }

    fn score(&self, _: &Task, _: &Transcript) -> Score {
        Score::wrong("")
    }

    fn oracle(&self, _: &Task) -> Transcript {
        Transcript::default()
    }
}

fn rewards(sections: Value) -> Result<Arc<dyn Reward>, String> {
    let sections: Vec<RewardSection> = serde_json::from_value(sections).unwrap();
    relign_tasks::rewards(&sections, Arc::new(Nothing)).map_err(|error| error.to_string())
}

fn reward(name: &str, mut settings: Value) -> Arc<dyn Reward> {
    settings["name"] = name.into();
    rewards(json!([settings])).unwrap()
}

fn judge(server: &Server, mut settings: Value) -> Arc<dyn Reward> {
    settings["endpoint"] = format!("{}#tiny", server.url).into();
    if settings.get("cache").is_none() {
        settings["cache"] = "".into();
    }
    reward("judge", settings)
}

fn task() -> Task {
    Task {
        id: "t/1".to_owned(),
        messages: vec![Message::system("Be brief."), Message::user("What is 8 * 9?")],
        answer: "72".to_owned(),
        facts: [("level".to_owned(), "3".to_owned())].into(),
        ..Task::default()
    }
}

fn said(text: &str) -> Value {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10}})
}

fn asked(call: &Call) -> &str {
    call.body["messages"][0]["content"].as_str().unwrap()
}

/// A judge that looks for the reference in the answer.
fn fair(call: &Call) -> Reply {
    let answer = asked(call).split("<answer>").nth(1).unwrap().split("</answer>").next().unwrap();
    let score = f64::from(u8::from(answer.contains("72")));
    Reply::Json(said(&json!({"reason": "as it is", "score": score}).to_string()))
}

fn score(reward: &dyn Reward, text: &str) -> Score {
    reward.score(&task(), &Transcript::of(text, true))
}

#[test]
fn a_judge_is_asked_with_the_rubric_and_its_score_is_taken() {
    let server = Server::new(fair);
    let reward = judge(&server, json!({}));
    let right = score(&*reward, "It is 72.");
    assert_eq!((right.value, right.verdict), (1.0, Verdict::Correct));
    assert_eq!(right.reason, "judge: as it is");
    assert_eq!(score(&*reward, "It is 73.").verdict, Verdict::Wrong);
    let call = server.calls().remove(0);
    assert_eq!((call.path.as_str(), &call.body["model"]), ("/v1/chat/completions", &json!("tiny")));
    for text in ["What is 8 * 9?", "<reference>\n72\n</reference>", "It is 72.", "NUMBER is from 0 (worst) to 1 (best)"]
    {
        assert!(asked(&call).contains(text), "{text} in {}", asked(&call));
    }
    assert_eq!(call.body["response_format"]["json_schema"]["schema"]["properties"]["score"]["maximum"], json!(1.0));
    assert_eq!((&call.body["temperature"], &call.body["max_tokens"]), (&json!(0.0), &json!(1024)));

    let empty = score(&*reward, " \n");
    assert_eq!((empty.value, empty.verdict), (0.0, Verdict::Unparsed));
    assert_eq!(server.calls().len(), 2, "nobody is asked about nothing");

    let own = judge(
        &server,
        json!({"rubric": "<answer>{{ turns[0].content }}</answer> {{ facts.level }} {{ messages|length }}",
        "reply": "text", "min": -1, "max": 3, "correct_from": 0.25}),
    );
    let score = score(&*own, "72");
    assert_eq!((score.value, score.verdict), (0.5, Verdict::Correct));
    let call = server.calls().pop().unwrap();
    assert!(asked(&call).starts_with("<answer>72</answer> 3 2\n\n") && call.body.get("response_format").is_none());
}

/// The body of the one request that a listener gets, as it came; `answer` is the reply.
fn heard_by(listener: TcpListener, answer: Value) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).unwrap();
        String::from_utf8(body).unwrap()
    })
}

#[test]
fn columns_arrive_with_their_types_and_digits() {
    let two_70 = 2_u128.pow(70);
    let column = |text: String| JsonText::new(text).unwrap();
    let columns = [("answer", two_70.to_string()), ("tags", "[\"a\",2,null,true]".to_owned())];
    let columns = columns.map(|(name, text)| (name.to_owned(), column(text))).into();
    let task = Task { columns, ..task() };
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        (listener, url)
    };

    let (listener, url) = listen();
    let heard = heard_by(listener, json!({"scores": [{"value": 1.0}]}));
    let score = reward("http", json!({"url": url})).score(&task, &Transcript::of("72", true));
    assert_eq!((score.value, score.reason.as_str()), (1.0, ""));
    let body = heard.join().unwrap();
    let expected = format!(r#""columns":{{"answer":{two_70},"tags":["a",2,null,true]}}"#);
    let packed: String = body.split_whitespace().collect();
    assert!(packed.contains(&expected) && packed.contains(r#""facts":{"level":"3"}"#), "{body}");

    let (listener, url) = listen();
    let heard = heard_by(listener, said(r#"{"reason": "fine", "score": 1}"#));
    let rubric =
        "{{ columns.answer }} {{ columns.tags[1] + 1 }} {{ columns.tags|length }} {{ columns.tags[2] is none }}";
    let settings = json!({"endpoint": format!("{url}#tiny"), "cache": "", "rubric": rubric});
    let score = reward("judge", settings).score(&task, &Transcript::of("72", true));
    assert_eq!((score.value, score.reason.as_str()), (1.0, "judge: fine"));
    let body = heard.join().unwrap();
    assert!(body.contains(&format!("{two_70} 3 4 True")), "{body}");
}

#[test]
fn what_is_no_verdict_is_masked_and_never_zero() {
    let server = Server::new(|call| {
        let text = asked(call);
        let case = text.split("case ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        match case.as_str() {
            "words" => Reply::Json(said("I would say 0.9")),
            "beyond" => Reply::Json(said(r#"{"score": 2}"#)),
            "more" => Reply::Json(said(r#"{"score": 1, "because": "x"}"#)),
            "cut" => Reply::Json(json!({"choices": [{"message": {"content": "{\"sco"}, "finish_reason": "length"}]})),
            "refusal" => Reply::Json(
                json!({"choices": [{"message": {"content": null, "refusal": "I may not."}, "finish_reason": "stop"}]}),
            ),
            "empty" => Reply::Json(json!({"choices": []})),
            "busy" if call.before < 2 => Reply::Status(429, "Retry-After: 0", String::new()),
            "down" => Reply::Status(500, "", json!({"error": {"message": "on fire"}}).to_string()),
            "denied" => Reply::Status(401, "", String::new()),
            "stall" => Reply::Stall(Vec::new()),
            _ => Reply::Json(said(r#"{"reason": "fine", "score": 1}"#)),
        }
    });
    let reward = judge(&server, json!({"seconds": 1.2, "retries": 2}));
    for (case, why) in [
        ("words", "expected {\"reason\": TEXT, \"score\": NUMBER} and nothing else, got \"I would say 0.9\""),
        ("beyond", "score: expected a number from 0 to 1, got 2"),
        ("more", "unknown field `because`"),
        ("cut", "got one cut off by max_tokens"),
        ("refusal", "the judge refuses: I may not."),
        ("empty", "choices: expected a list with one completion"),
        ("denied", "got 401; no key was sent"),
        ("stall", "within 1.2s, got nothing"),
    ] {
        let score = score(&*reward, &format!("case {case}"));
        assert_eq!(score.verdict, Verdict::Failed, "{case}: {score:?}");
        assert!(score.reason.contains(why), "{case}: {}\nexpected: {why}", score.reason);
    }
    // Further tries take their waits.
    let patient = judge(&server, json!({"seconds": 30, "retries": 2}));
    assert_eq!(score(&*patient, "case busy").value, 1.0);
    assert!(score(&*patient, "case down").reason.contains("got 500: on fire"));
    let spent = reward.spent().unwrap().and(patient.spent().unwrap());
    assert_eq!((spent.requests, spent.failed), (10, 3), "{spent:?}");
    assert!(spent.retries >= 3, "{spent:?}");
    // Of a group each is judged alone.
    let group = ["case fine", "case words", "case fine2"].map(|text| Transcript::of(text, true));
    let verdicts: Vec<_> = reward.score_group(&task(), &group).into_iter().map(|score| score.verdict).collect();
    assert_eq!(verdicts, [Verdict::Correct, Verdict::Failed, Verdict::Correct]);
}

#[test]
fn answers_are_kept_on_disk_and_paid_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("judge.jsonl");
    let server = Server::new(fair);
    let settings = json!({"cache": cache, "usd_per_million_read": 2.0, "usd_per_million_written": 10.0});
    let first = judge(&server, settings.clone());
    let group = ["72", "73", "72"].map(|text| Transcript::of(text, true));
    let values = |reward: &dyn Reward| -> Vec<f64> {
        reward.score_group(&task(), &group).into_iter().map(|score| score.value).collect()
    };
    assert_eq!(values(&*first), [1.0, 0.0, 1.0]);
    let spent = first.spent().unwrap();
    assert_eq!((spent.requests, spent.cached, spent.prompt_tokens, spent.completion_tokens), (2, 1, 200, 20));
    assert!((spent.usd - 0.0006).abs() < 1e-12, "{spent:?}");
    drop(first);
    // A kill in the middle of a line costs that line.
    let mut bytes = std::fs::read(&cache).unwrap();
    bytes.extend_from_slice(b"{\"key\": \"00\", \"answ");
    std::fs::write(&cache, bytes).unwrap();
    let second = judge(&server, settings.clone());
    assert_eq!(values(&*second), [1.0, 0.0, 1.0]);
    let spent = second.spent().unwrap();
    assert_eq!((spent.requests, spent.cached, spent.usd), (0, 3, 0.0));
    assert_eq!(server.calls().len(), 2);
    // Whatever changes the question asks it anew.
    for (key, value) in [
        ("rubric", json!("<answer>{{ response }}</answer> {{ reference }}")),
        ("max", json!(2)),
        ("temperature", json!(0.5)),
    ] {
        let mut settings = settings.clone();
        settings[key] = value;
        let other = judge(&server, settings);
        values(&*other);
        assert_eq!(other.spent().unwrap().requests, 2, "{key}");
    }
}

#[test]
fn no_more_than_the_limit_are_on_their_way_at_once() {
    let server = Server::new(|call| {
        let Reply::Json(answer) = fair(call) else { unreachable!() };
        Reply::Late(Duration::from_millis(30), answer)
    });
    let reward = judge(&server, json!({"concurrency": 3}));
    let group: Vec<_> = (0..12).map(|n| Transcript::of(format!("72 {n}"), true)).collect();
    std::thread::scope(|scope| {
        for part in group.chunks(6) {
            let reward = &reward;
            scope.spawn(move || assert!(reward.score_group(&task(), part).iter().all(|score| score.value == 1.0)));
        }
    });
    assert_eq!((server.most_at_once(), reward.needs().at_once), (3, 3));
}

#[test]
fn a_program_of_ones_own_judges_over_http() {
    let server = Server::new(|call| {
        let body = &call.body;
        assert_eq!(
            (&body["version"], &body["task"]["answer"], &body["task"]["facts"]["level"]),
            (&json!(1), &json!("72"), &json!("3"))
        );
        let scores: Vec<Value> = body["answers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| match answer["messages"][0]["content"].as_str().unwrap() {
                "none" => Value::Null,
                "all" => json!({"value": 0.5, "verdict": "correct", "reason": "so", "parts": {"a": 0.5}}),
                text => json!({"value": f64::from(u8::from(text == "72")) + if answer["finished"] == true { 0.0 } else { 10.0 }}),
            })
            .collect();
        Reply::Json(json!({"scores": scores}))
    });
    let each = reward("http", json!({"url": server.url}));
    let group = ["72", "none", "7", "all"].map(|text| Transcript::of(text, true));
    let scores = each.score_group(&task(), &group);
    assert_eq!(server.calls().len(), 4);
    assert_eq!((scores[0].verdict, scores[0].value), (Verdict::Correct, 1.0));
    assert!(scores[1].verdict == Verdict::Failed && scores[1].reason.contains("leaves this answer out"));
    assert_eq!((scores[2].verdict, scores[2].value), (Verdict::Wrong, 0.0));
    assert_eq!((scores[3].verdict, scores[3].value, scores[3].reason.as_str()), (Verdict::Correct, 0.5, "http: so"));
    assert_eq!(each.score(&task(), &Transcript::of("7", false)).value, 10.0);
    let together = reward("http", json!({"url": server.url, "group": true}));
    assert_eq!(together.score_group(&task(), &group), scores);
    assert_eq!(server.calls().len(), 6);
    assert!(together.needs().group && !each.needs().group);
    // A thought is no part of the answer, unless the program is to see it.
    let thinking = Transcript::of("<think>7?</think>72", true);
    assert_eq!(each.score(&task(), &thinking).verdict, Verdict::Correct);
    let whole = reward("http", json!({"url": server.url, "thoughts": true}));
    assert_eq!(whole.score(&task(), &thinking).verdict, Verdict::Wrong);
}

#[test]
fn a_reply_that_is_none_masks_its_answers() {
    for (reply, why) in [
        (json!({"scores": []}), "expected 2 scores, one for each answer, got 0"),
        (json!({"scores": [{"value": 1}]}), "expected 2 scores, one for each answer, got 1"),
        (json!({"scores": [1, 2]}), "invalid type"),
        (json!({"scores": [{"value": "1"}, {"value": 1}]}), "invalid type: string"),
        (json!({"scores": [{"value": 1, "verdikt": 1}, null]}), "unknown field `verdikt`"),
        (json!({"scores": [{"value": 1, "verdict": "right"}, null]}), "unknown variant `right`"),
        (json!({"score": 1}), "unknown field `score`"),
        (json!([[]]), "no object"),
    ] {
        let server = Server::new(move |_| Reply::Json(reply.clone()));
        let reward = reward("http", json!({"url": server.url, "group": true}));
        let scores = reward.score_group(&task(), &[Transcript::of("a", true), Transcript::of("b", true)]);
        assert!(
            scores.iter().all(|s| s.verdict == Verdict::Failed && s.reason.contains(why)),
            "{scores:?}\nexpected: {why}"
        );
    }
}

#[test]
fn settings_are_checked_before_anyone_is_asked() {
    let error = |section: Value| rewards(json!([section])).err().unwrap();
    let judge = |key: &str, value: Value| {
        let mut section = json!({"name": "judge", "endpoint": "http://localhost:1/v1#m"});
        section[key] = value;
        error(section)
    };
    for (key, value, why) in [
        ("endpoint", json!(""), "rewards.0.endpoint: server address: expected http://HOST:PORT/v1"),
        (
            "endpoint",
            json!("http://localhost:1/v1"),
            "rewards.0.endpoint: expected the model's name after it (URL#MODEL)",
        ),
        ("rubric", json!("{{ respons }}"), "rewards.0.rubric: expected one of question, reference, response,"),
        ("rubric", json!("{{ response "), "rewards.0.rubric: expected a Jinja template: "),
        ("rubric", json!(" "), "rewards.0.rubric: expected a text"),
        ("max", json!(0), "rewards.0.max: expected a number above min (0), got 0"),
        ("concurrency", json!(0), "rewards.0.concurrency: "),
        ("seconds", json!(0), "rewards.0.seconds: "),
        ("temperature", json!(-1), "rewards.0.temperature: "),
        ("usd_per_million_read", json!(-1), "rewards.0.usd_per_million_read: "),
        ("reply", json!("xml"), "unknown name `xml`"),
        ("modell", json!("x"), "unknown key `modell`"),
    ] {
        let error = judge(key, value);
        assert!(error.contains(why), "{error}\nexpected: {why}");
    }
    assert!(error(json!({"name": "http"})).starts_with("rewards.0.url: expected http://"));
    for port in ["99999", "0", "+80"] {
        let error = error(json!({"name": "http", "url": format!("http://127.0.0.1:{port}/judge")}));
        assert!(error.contains(&format!("the port {port}, which is none of 1 to 65535")), "{error}");
    }
    let impossible = error(json!({"name": "http", "url": "http://me:secret@127.0.0.1:99999/judge"}));
    assert!(impossible.contains("99999") && !impossible.contains("secret"), "{impossible}");
    assert!(error(json!({"name": "http", "url": "http://x", "second": 1})).contains("unknown key `second`"));
    // A key that is named and not there is said when work begins, not when a recipe is read.
    let keyless = reward("http", json!({"url": "http://localhost:1", "api_key_env": "RELIGN_NO_SUCH_KEY"}));
    let error = keyless.prepare().unwrap_err();
    assert_eq!(
        error,
        "reward `http`: api_key_env: expected a key in the environment variable RELIGN_NO_SUCH_KEY, it is not set"
    );
}
