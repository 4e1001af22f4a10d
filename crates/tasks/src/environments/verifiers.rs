//! Environments of the Python package `verifiers`.

use std::sync::OnceLock;
use std::time::Duration;

use relign_core::{ConfigError, Entry, Environment, RewardNeeds, Score, Split, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::python::{Loading, Python};
use crate::rewards::python::{Conversation, call, scores};
use crate::rewards::server::seconds;

/// A single-turn environment of the Python package `verifiers` (up to its version 0.3): its prompts, and its rubric as
/// the score.
///
/// `environment` names what makes it, `load_environment` by custom, or the object itself. Held out is what it holds
/// out itself (`eval_dataset`); where it has only a `dataset`, a share of the rows by a hash of their prompts. Training
/// rows that ask what a held-out row asks are left out. Its rubric is given all answers to a task together, as the
/// functions that compare them want it. A reward function that raises is counted as `Failed` (masked),
/// not as the 0 that the package makes of it. Environments with several turns are refused.
///
/// It runs in processes of its own, as the reward `python` does.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Verifiers {
    /// What makes it: `PATH.py:NAME` or `MODULE:NAME`. Required.
    pub environment: String,
    /// Keyword arguments to make it with.
    pub arguments: Map<String, Value>,
    /// The share of rows that are held out where it holds out none itself, 0 to 1.
    pub held_out: f64,
    /// The value from which on an answer counts as correct.
    pub correct_from: f64,
    /// Seconds that one call may take.
    pub seconds: f64,
    /// Seconds that starting Python and making the environment may take.
    pub start_seconds: f64,
    /// Processes at once; 0 for as many as there are cores.
    pub workers: usize,
    /// The file that prints are appended to; empty drops them.
    pub log: String,
    /// The Python that runs it; empty for RELIGN_PYTHON, else the active virtual environment's, else `python3`.
    pub python: String,
}

impl Default for Verifiers {
    fn default() -> Self {
        Self {
            environment: String::new(),
            arguments: Map::new(),
            held_out: 0.1,
            correct_from: 1.0,
            seconds: 10.0,
            start_seconds: 120.0,
            workers: 0,
            log: String::new(),
            python: String::new(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Environment> = Entry {
    name: "verifiers",
    schema: schema_of::<Verifiers>,
    build: |settings| Ok(Box::new(Running::new(parse(settings)?)?)),
};

/// A [`Verifiers`] whose settings are understood.
struct Running {
    verifiers: Verifiers,
    python: Python,
    lengths: OnceLock<Result<Lengths, String>>,
}

#[derive(Deserialize)]
struct Lengths {
    train: u64,
    eval: u64,
}

impl Running {
    fn new(verifiers: Verifiers) -> Result<Self, ConfigError> {
        seconds("seconds", verifiers.seconds)?;
        seconds("start_seconds", verifiers.start_seconds)?;
        if !(0.0..=1.0).contains(&verifiers.held_out) {
            return Err(ConfigError::at("held_out", format!("expected 0 to 1, got {}", verifiers.held_out)));
        }
        if !verifiers.correct_from.is_finite() {
            return Err(ConfigError::at("correct_from", format!("expected a number, got {}", verifiers.correct_from)));
        }
        let loading = Loading {
            object: verifiers.environment.clone(),
            arguments: Some(verifiers.arguments.clone()),
            environment: Some(verifiers.held_out),
            limit: Duration::from_secs_f64(verifiers.seconds),
            start_limit: Duration::from_secs_f64(verifiers.start_seconds),
            workers: verifiers.workers,
            log: verifiers.log.clone().into(),
            python: verifiers.python.clone().into(),
        };
        loading.parts().map_err(|error| error.within("environment"))?;
        Ok(Self { verifiers, python: Python::new(loading), lengths: OnceLock::new() })
    }

    fn lengths(&self) -> Result<&Lengths, String> {
        let ask = || {
            let answer = self.python.call(&json!({"do": "length"}))?;
            serde_json::from_value(answer).map_err(|error| format!("{}: {error}", self.verifiers.environment))
        };
        self.lengths.get_or_init(ask).as_ref().map_err(Clone::clone)
    }
}

/// Where a task's row is.
fn place(id: &str) -> Option<Value> {
    let (split, index) = id.strip_prefix("verifiers/")?.split_once('/')?;
    Some(json!({"split": split, "index": index.parse::<u64>().ok()?}))
}

impl Environment for Running {
    fn len(&self, split: Split) -> Option<u64> {
        // Where it cannot be made, asking for a task says why.
        Some(self.lengths().map_or(1, |lengths| match split {
            Split::Train => lengths.train,
            Split::Eval => lengths.eval,
        }))
    }

    fn task(&self, split: Split, index: u64) -> Result<Task, String> {
        self.lengths()?;
        let most = self.len(split).unwrap_or_default();
        if index >= most {
            return Err(format!("{}: expected an index below {most}, got {index}", self.verifiers.environment));
        }
        let id = format!("verifiers/{}/{index}", split.name());
        let mut task = self.python.call(&json!({"do": "task", "at": place(&id)}))?;
        task["id"] = id.into();
        serde_json::from_value(task).map_err(|error| format!("{}: {error}", self.verifiers.environment))
    }

    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let mut scores = self.score_group(task, std::slice::from_ref(transcript));
        scores.pop().unwrap_or_else(|| Score::failed("expected a score, got none"))
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        let mut call = call(Conversation::Chat, task, group);
        call.at = place(&task.id);
        let Verifiers { environment, correct_from, .. } = &self.verifiers;
        let answer = self.python.call(&call);
        match answer.and_then(|answer| scores(environment, answer, group.len(), *correct_from)) {
            Ok(scores) => scores,
            Err(why) => group.iter().map(|_| Score::failed(why.as_str())).collect(),
        }
    }

    fn needs(&self) -> RewardNeeds {
        RewardNeeds { group: true, at_once: 0, waits: self.python.waits() }
    }

    fn oracle(&self, task: &Task) -> Transcript {
        Transcript::of(task.answer.as_str(), true)
    }
}
