//! A server that does as it is told, well or badly.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What a request met with.
pub enum Reply {
    /// Status 200 and this.
    Json(Value),
    /// Another status, a header and a body.
    Status(u16, &'static str, String),
    /// These bytes and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes and then nothing, the connection left open.
    Stall(Vec<u8>),
    /// Status 200 after a while.
    Late(Duration, Value),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub key: Option<String>,
    pub body: Value,
    /// How often the same body arrived before.
    pub before: usize,
}

impl Call {
    /// The first token of the prompt: what the tests tell requests apart by.
    pub fn first(&self) -> u64 {
        self.body["prompt"][0].as_u64().unwrap_or(u64::MAX)
    }
}

/// A server on a port of its own, until the test ends.
pub struct Server {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Requests being answered, and the most there were at once.
    crowd: Arc<Mutex<(usize, usize)>>,
}

impl Server {
    /// Serves one model of `owner`; everything but the list of models is up to `reply`.
    pub fn of(owner: &'static str, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(move |call| match call.path.as_str() {
            "/v1/models" => Reply::Json(
                json!({"object": "list", "data": [{"id": "tiny", "owned_by": owner, "max_model_len": 100}]}),
            ),
            _ => reply(call),
        })
    }

    pub fn new(reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let (calls, crowd) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new((0, 0))));
        let server = Self { url, calls: Arc::clone(&calls), crowd: Arc::clone(&crowd) };
        let (reply, seen) = (Arc::new(reply), Arc::new(Mutex::new(HashMap::<String, usize>::new())));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, calls, crowd, seen) =
                    (Arc::clone(&reply), Arc::clone(&calls), Arc::clone(&crowd), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let Some(mut call) = read(&stream) else { return };
                    {
                        let mut seen = seen.lock().expect("a lock");
                        let times = seen.entry(format!("{} {}", call.path, call.body)).or_default();
                        call.before = *times;
                        *times += 1;
                    }
                    calls.lock().expect("a lock").push(call.clone());
                    {
                        let mut crowd = crowd.lock().expect("a lock");
                        crowd.0 += 1;
                        crowd.1 = crowd.1.max(crowd.0);
                    }
                    let reply = reply(&call);
                    if let Reply::Late(wait, _) = &reply {
                        std::thread::sleep(*wait);
                    }
                    crowd.lock().expect("a lock").0 -= 1;
                    answer(stream, reply);
                });
            }
        });
        server
    }

    /// Requests for completions so far.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.lock().expect("a lock");
        calls.iter().filter(|call| call.path != "/v1/models").cloned().collect()
    }

    /// The most requests that were answered at once.
    pub fn most_at_once(&self) -> usize {
        self.crowd.lock().expect("a lock").1
    }
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call { path, key, body: serde_json::from_slice(&body).unwrap_or_default(), before: 0 })
}

fn answer(mut stream: TcpStream, reply: Reply) {
    let whole = |status: u16, header: &str, body: &str| {
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n{body}", body.len())
    };
    // Whoever asked may be gone.
    let _ = match reply {
        Reply::Json(body) | Reply::Late(_, body) => stream.write_all(whole(200, "", &body.to_string()).as_bytes()),
        Reply::Status(status, header, body) => stream.write_all(whole(status, header, &body).as_bytes()),
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes);
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
    };
}

/// A completion as vLLM writes it: the text, and its letters as tokens.
pub fn completion(text: &str) -> Value {
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    let logprobs = vec![-0.5; ids.len()];
    json!({
        "choices": [{"index": 0, "text": text, "finish_reason": "stop", "stop_reason": null, "token_ids": ids,
            "logprobs": {"tokens": [], "token_logprobs": logprobs, "top_logprobs": null}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": ids.len()},
    })
}
