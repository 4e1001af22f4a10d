//! One request over HTTP, tried until it succeeds or no further try can help.

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relign_core::{Seed, secrets};
use serde::Serialize;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, Timeout};

use crate::{Error, Options, chat, retry, stream};

/// Requests given up on in a row, without a word from the server, after which each gets one try alone:
/// a server that is gone must not cost every request its waits.
const GONE: u32 = 3;

/// A key that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key's text.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(...)")
    }
}

/// The way to one server.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    base: String,
    options: Options,
    /// Requests given up on since the server last said anything.
    gone: AtomicU32,
}

/// What came of one try that gave no answer.
struct Refusal {
    error: Error,
    again: Again,
}

enum Again {
    Never,
    /// Not before the time that the server asks for, if it does.
    After(Option<Duration>),
}

impl Http {
    /// A way to the server whose paths begin with `base`.
    #[must_use]
    pub fn new(base: &str, options: &Options) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A key must not follow to another host, and a POST does not survive a redirect.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(options.connect))
            .timeout_recv_response(Some(options.first_byte))
            .timeout_global(Some(options.whole))
            .max_idle_connections_per_host(options.concurrency.max(1))
            .user_agent(concat!("relign/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: Agent::new_with_config(config),
            base: base.to_owned(),
            options: options.clone(),
            gone: AtomicU32::new(0),
        }
    }

    /// The server's URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What lies beside the OpenAI-compatible paths.
    #[must_use]
    pub fn beside(&self, path: &str) -> String {
        format!("{}{path}", self.base.strip_suffix("/v1").unwrap_or(&self.base))
    }

    /// Sends `body` to `url`, tried again as often as the options say, or not at all once the server seems gone.
    /// `rest` waits between tries and says whether to go on.
    ///
    /// # Errors
    /// Why the last try brought no answer.
    pub fn ask_again(
        &self,
        url: &str,
        body: &(impl Serialize + ?Sized),
        seed: Seed,
        rest: &mut dyn FnMut(Duration) -> bool,
    ) -> Result<Value, Error> {
        self.noted(self.tried(self.patience(), seed, rest, &mut |tries| self.once(url, Some(body), tries)))
    }

    /// Sends `body` to `url`, or asks for it where there is none; up to `retries` further tries. `rest`
    /// waits between tries and says whether to go on.
    ///
    /// # Errors
    /// Why the last try brought no answer.
    pub fn ask(
        &self,
        url: &str,
        body: Option<&Value>,
        retries: u32,
        seed: Seed,
        rest: &mut dyn FnMut(Duration) -> bool,
    ) -> Result<Value, Error> {
        self.tried(retries, seed, rest, &mut |tries| self.once(url, body, tries))
    }

    /// Sends `body` to `url` and reads the stream of events that comes back until those so far are `enough`; then the
    /// connection is dropped, which tells the server to stop. A stream that ends earlier is broken, and asked for again,
    /// unless it says that it is `[DONE]` and `done` tells that this is an end.
    ///
    /// # Errors
    /// Why the last try brought no stream, or not enough of one.
    pub fn listen(
        &self,
        url: &str,
        body: &Value,
        seed: Seed,
        rest: &mut dyn FnMut(Duration) -> bool,
        done: bool,
        enough: &mut dyn FnMut(&[Value]) -> bool,
    ) -> Result<Vec<Value>, Error> {
        let heard = self.tried(self.patience(), seed, rest, &mut |tries| {
            let mut response = self.send(url, Some(body), tries)?;
            let reader = response.body_mut().with_config().limit(self.options.answer_bytes).reader();
            let mut events = Vec::new();
            for event in stream::events(reader) {
                match event {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) if done => return Ok(events),
                    Ok(None) => break,
                    Err(stream::Broken::Read(error)) => return Err(self.broke(url, error.into(), tries)),
                    Err(stream::Broken::Event(what)) => {
                        return Err(Refusal {
                            error: Error::Malformed { url: url.to_owned(), what },
                            again: Again::Never,
                        });
                    }
                }
                if enough(&events) {
                    return Ok(events);
                }
            }
            let what = format!("expected a whole answer, got {} events of one and then their end", events.len());
            let error = Error::Unreachable { url: url.to_owned(), what, tries };
            Err(Refusal { error, again: Again::After(None) })
        });
        self.noted(heard)
    }

    /// Further tries of a request: none once the server seems gone.
    fn patience(&self) -> u32 {
        if self.gone.load(Ordering::Relaxed) < GONE { self.options.retries } else { 0 }
    }

    /// Takes down whether the server said anything.
    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Err(Error::Unreachable { .. } | Error::Late { .. }) => {
                self.gone.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.gone.store(0, Ordering::Relaxed),
        }
        outcome
    }

    /// Tries until one succeeds or no further try can help. No error holds a secret, whoever repeats it.
    fn tried<T>(
        &self,
        retries: u32,
        seed: Seed,
        rest: &mut dyn FnMut(Duration) -> bool,
        once: &mut dyn FnMut(u32) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.tries(retries, seed, rest, once).map_err(|error| {
            let mut secrets = secrets::secrets_in(&self.base);
            let passwords: Vec<String> =
                secrets.iter().filter_map(|user| Some(user.split_once(':')?.1.to_owned())).collect();
            secrets.extend(passwords.into_iter().chain(self.options.key.iter().map(|key| key.0.clone())));
            error.without(&secrets)
        })
    }

    fn tries<T>(
        &self,
        retries: u32,
        seed: Seed,
        rest: &mut dyn FnMut(Duration) -> bool,
        once: &mut dyn FnMut(u32) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            let Refusal { mut error, again } = match once(tries) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            let Again::After(asked) = again else { return Err(error) };
            if tries > retries {
                return Err(error);
            }
            let Some(wait) = retry::wait(&self.options, seed, tries, asked) else {
                if let (Error::Status { said, .. }, Some(asked)) = (&mut error, asked) {
                    said.push_str(&format!(
                        "; it asks for a wait of {asked:?}, longer than {:?}",
                        self.options.longest_wait
                    ));
                }
                return Err(error);
            };
            if !rest(wait) {
                return Err(error);
            }
            tries += 1;
        }
    }

    /// An answer of status 200, not yet read.
    fn send<B: Serialize + ?Sized>(&self, url: &str, body: Option<&B>, tries: u32) -> Result<Response<Body>, Refusal> {
        let key = self.options.key.as_ref().map(|key| format!("Bearer {}", key.0));
        let response = match body {
            Some(body) => {
                let request = self.agent.post(url);
                let request = if let Some(key) = &key { request.header("Authorization", key) } else { request };
                request.send_json(body)
            }
            None => {
                let request = self.agent.get(url);
                if let Some(key) = &key { request.header("Authorization", key) } else { request }.call()
            }
        };
        let mut response = response.map_err(|error| self.broke(url, error, tries))?;
        match response.status().as_u16() {
            200..=203 => Ok(response),
            status => Err(self.refused(url, status, &mut response, tries)),
        }
    }

    fn once<B: Serialize + ?Sized>(&self, url: &str, body: Option<&B>, tries: u32) -> Result<Value, Refusal> {
        let mut response = self.send(url, body, tries)?;
        let limit = self.options.answer_bytes;
        let mut bytes = Vec::new();
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader().take(limit + 1);
        reader.read_to_end(&mut bytes).map_err(|error| self.broke(url, error.into(), tries))?;
        let malformed =
            |what: String| Refusal { error: Error::Malformed { url: url.to_owned(), what }, again: Again::Never };
        if bytes.len() as u64 > limit {
            return Err(malformed(format!("expected an answer of at most {limit} bytes, got more")));
        }
        let bytes = bytes.trim_ascii_start();
        let bytes = bytes.strip_prefix(stream::BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
        if let Some(events) = stream::whole(bytes) {
            let events = events.map_err(malformed)?;
            return events.map(|events| chat::joined(&events)).ok_or_else(|| {
                let what = "expected a whole answer, got the beginning of a stream".to_owned();
                let error = Error::Unreachable { url: url.to_owned(), what, tries };
                Refusal { error, again: Again::After(None) }
            });
        }
        serde_json::from_slice(bytes).map_err(|error| {
            let got = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
            malformed(format!("expected JSON, got {} ({error})", short(&Value::String(got))))
        })
    }

    /// No answer at all, or one that broke off.
    fn broke(&self, url: &str, error: ureq::Error, tries: u32) -> Refusal {
        let url = url.to_owned();
        let (what, limit, again) = match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                ("a connection", self.options.connect, Again::After(None))
            }
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                ("the beginning of an answer", self.options.first_byte, Again::Never)
            }
            ureq::Error::Timeout(_) => ("a whole answer", self.options.whole, Again::Never),
            other => {
                let again = match other {
                    ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                        Again::After(None)
                    }
                    _ => Again::Never,
                };
                let what = format!("expected an answer, got none: {other}");
                return Refusal { error: Error::Unreachable { url, what, tries }, again };
            }
        };
        Refusal { error: Error::Late { url, what, limit }, again }
    }

    /// A status other than 200.
    fn refused(&self, url: &str, status: u16, response: &mut Response<Body>, tries: u32) -> Refusal {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let wait = retry::asked_for(header("retry-after"), header("date"));
        // What the server says matters, not that all of it arrives.
        let mut bytes = Vec::new();
        let _ = response.body_mut().with_config().limit(u64::MAX).reader().take(1 << 16).read_to_end(&mut bytes);
        let mut said = words_of(&String::from_utf8_lossy(&bytes));
        if let Some(ApiKey(key)) = self.options.key.as_ref().filter(|key| !key.0.is_empty()) {
            said = said.replace(key, "..."); // some servers repeat it
        }
        if !said.is_empty() {
            said.insert_str(0, ": ");
        }
        if matches!(status, 401 | 403) && self.options.key.is_none() {
            said.push_str("; no key was sent");
        }
        let again = match status {
            408 | 429 | 500..=599 => Again::After(wait),
            _ => Again::Never,
        };
        Refusal { error: Error::Status { url: url.to_owned(), status, tries, said }, again }
    }
}

/// A value in a few words.
#[must_use]
pub fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What a server says about a refusal: the message of the error, wherever it is, or the beginning of the text.
fn words_of(text: &str) -> String {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let places = ["/error/message", "/message", "/error", "/detail"];
    let message = places.iter().find_map(|place| json.pointer(place)).filter(|message| !message.is_null());
    let words = match message {
        Some(Value::String(words)) => words.clone(),
        Some(other) => other.to_string(),
        None => text.to_owned(),
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_found() {
        for (text, words) in [
            (r#"{"error": {"message": "no\n such model", "code": 404}}"#, "no such model"),
            (r#"{"object": "error", "message": "too long"}"#, "too long"),
            (r#"{"error": "busy"}"#, "busy"),
            (r#"{"detail": [{"loc": ["body"]}]}"#, r#"[{"loc":["body"]}]"#),
            ("<h1>Bad Gateway</h1>", "<h1>Bad Gateway</h1>"),
            ("", ""),
        ] {
            assert_eq!(words_of(text), words);
        }
        assert_eq!(words_of(&"é".repeat(500)), format!("{}...", "é".repeat(300)));
    }

    #[test]
    fn keys_are_not_printed() {
        let options = Options { key: Some(ApiKey::new("secret")), ..Options::default() };
        assert!(!format!("{options:?} {:?}", Http::new("http://x/v1", &options)).contains("secret"));
    }
}
