//! A reward behind an address.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use relign_core::{
    ConfigError, Entry, JsonText, Reward, RewardNeeds, Score, Seed, Spent, Task, Transcript, Verdict, parse, schema_of,
};
use relign_http::{Address, short};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::server::{Asking, Server};

/// Has a program of your own judge, over HTTP.
///
/// A POST to `url` carries the task, with the columns of its row, and one answer, or with `group` all answers to it, as JSON; the program replies
/// with one score for each: `{"scores": [{"value": 0.5}]}`. A score may also hold `verdict` (`correct`, `wrong`,
/// `unparsed` or `failed`), `reason` and `parts`; `null` in its place leaves the answer out. docs/rewards.md has both
/// objects in full. A reply that is anything else, or a program that fails, masks the sample and is counted
/// (`Failed`), never scored 0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to send it: `http://...` or `https://...`. Required.
    pub url: String,
    /// The environment variable that holds a key, sent as `Authorization: Bearer KEY`; empty sends none.
    pub api_key_env: String,
    /// Send all answers to a task in one request, in contrast to each as soon as it is there.
    pub group: bool,
    /// Messages are sent with the model's thoughts, which are left out otherwise.
    pub thoughts: bool,
    /// The value from which on an answer counts as correct, where the reply has no verdict.
    pub correct_from: f64,
    /// Seconds for one request, its further tries included.
    pub seconds: f64,
    /// Further tries of a request after the first, where another can help.
    pub retries: u32,
    /// Requests on their way at once.
    pub concurrency: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            url: String::new(),
            api_key_env: String::new(),
            group: false,
            thoughts: false,
            correct_from: 1.0,
            seconds: 60.0,
            retries: 5,
            concurrency: 16,
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> =
    Entry { name: "http", schema: schema_of::<Http>, build: |settings| Ok(Box::new(Posting::new(parse(settings)?)?)) };

/// An [`Http`] whose settings are understood.
struct Posting {
    http: Http,
    asking: Asking,
    server: OnceLock<Result<Server, String>>,
}

/// A score as a program writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    value: f64,
    #[serde(default)]
    verdict: Option<Verdict>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    parts: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    scores: Vec<Option<Written>>,
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    task: Posed<'a>,
    answers: Vec<Value>,
}

#[derive(Serialize)]
struct Posed<'a> {
    #[serde(flatten)]
    task: &'a Task,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    columns: &'a BTreeMap<String, JsonText>,
}

impl Posting {
    fn new(http: Http) -> Result<Self, ConfigError> {
        if let Err(got) = Address::check(&http.url) {
            return Err(ConfigError::at("url", format!("expected http://HOST:PORT/PATH or https://..., got {got}")));
        }
        if !http.correct_from.is_finite() {
            return Err(ConfigError::at("correct_from", format!("expected a number, got {}", http.correct_from)));
        }
        let asking = Asking {
            seconds: http.seconds,
            retries: http.retries,
            concurrency: http.concurrency,
            api_key_env: http.api_key_env.clone(),
        };
        asking.check()?;
        Ok(Self { http, asking, server: OnceLock::new() })
    }

    fn server(&self) -> Result<&Server, String> {
        self.server.get_or_init(|| Server::new(&self.http.url, &self.asking)).as_ref().map_err(Clone::clone)
    }

    fn ask(&self, task: &Task, group: &[Transcript]) -> Result<Vec<Score>, String> {
        let answers: Vec<Value> = group
            .iter()
            .map(|transcript| {
                let answers = if self.http.thoughts { transcript.clone() } else { transcript.answers() };
                json!({"messages": answers.messages, "finished": answers.finished})
            })
            .collect();
        let body = Body { version: 1, task: Posed { task, columns: &task.columns }, answers };
        let hash = Sha256::digest(serde_json::to_vec(&body).map_err(|error| error.to_string())?);
        let seed = Seed(u64::from_le_bytes(std::array::from_fn(|place| hash[place])));
        let url = &self.http.url;
        let answer = self.server()?.ask(url, &body, seed).map_err(|error| error.to_string())?;
        let wrong = |error: &str| {
            format!("{url}: expected {{\"scores\": [...]}} as docs/rewards.md has it, got {} ({error})", short(&answer))
        };
        if !answer.is_object() {
            return Err(wrong("no object"));
        }
        let Reply { scores } = Reply::deserialize(&answer).map_err(|error| wrong(&error.to_string()))?;
        if scores.len() != group.len() {
            return Err(format!("{url}: expected {} scores, one for each answer, got {}", group.len(), scores.len()));
        }
        Ok(scores.into_iter().map(|written| self.read(written)).collect())
    }

    fn read(&self, written: Option<Written>) -> Score {
        let url = &self.http.url;
        let Some(Written { value, verdict, reason, parts }) = written else {
            return Score::failed(format!("{url} leaves this answer out (null)"));
        };
        let judged = if value >= self.http.correct_from { Verdict::Correct } else { Verdict::Wrong };
        Score { verdict: verdict.unwrap_or(judged), value, parts, reason, answer: None }
    }
}

impl Reward for Posting {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        match self.ask(task, std::slice::from_ref(transcript)) {
            Ok(scores) => scores.into_iter().next().unwrap_or_else(|| Score::failed("no score")),
            Err(why) => Score::failed(why),
        }
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        if !self.http.group {
            return super::at_once(self.asking.concurrency, group, |transcript| self.score(task, transcript));
        }
        match self.ask(task, group) {
            Ok(scores) => scores,
            Err(why) => group.iter().map(|_| Score::failed(why.as_str())).collect(),
        }
    }

    fn needs(&self) -> RewardNeeds {
        RewardNeeds { group: self.http.group, at_once: self.asking.concurrency, waits: self.asking.waits() }
    }

    fn prepare(&self) -> Result<(), String> {
        self.server().map(drop)
    }

    fn spent(&self) -> Option<Spent> {
        self.server.get()?.as_ref().ok().map(Server::spent)
    }
}
