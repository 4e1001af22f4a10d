//! Reward functions in Python.

use std::time::Duration;

use relign_core::{ConfigError, Entry, Reward, RewardNeeds, Role, Score, Task, Transcript, Verdict, parse, schema_of};
use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::server::seconds;
use crate::python::{Loading, Python as Workers};

/// Calls a reward function written in Python, with the signature that TRL gives them.
///
/// `name = "python:my_rewards.py:brief"` in a recipe is short for `name = "python"` with
/// `function = "my_rewards.py:brief"`; a module works too (`python:trl.rewards:think_format_reward`). The function is
/// called with keyword arguments, each a list with one element for each completion: `prompts`, `completions`,
/// `completion_ids` where the tokens are known, `answer` (the task's), `solution` (the same, unless something of the task
/// has that name), each column of the task's row with its type (texts, numbers of any size, lists, tables, true, false,
/// None) and each of the task's facts. `log_extra` and `log_metric` are there and do nothing; TRL's `trainer_state` is
/// not. A function without `**kwargs` gets what it names. It returns a list of numbers, or None for a completion that it
/// cannot judge, which is masked and never counts as 0. `async def` works.
///
/// TRL calls a function on a whole batch; here the batch is all answers to one task, so that a function may hold them
/// against one another. A call that raises, hangs, crashes or returns anything but one finite number or None for each
/// completion fails for all answers of its batch (`Failed`: masked, counted), with the function's name and what it said.
///
/// A `verifiers.Rubric`, or an environment of that package with its rubric, works in a function's place.
///
/// The functions run in processes of their own (`RELIGN_PYTHON`, else the active virtual environment's Python, else
/// `python3`), which are replaced when they crash or overrun and end with RELIGN. They are not sandboxed: it is your
/// code. What they print goes to `log`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Python {
    /// The function: `PATH.py:NAME` or `MODULE:NAME`. Required.
    pub function: String,
    /// Keyword arguments, for one that makes the function: it is called with them once and what it returns is used.
    pub arguments: Option<Map<String, Value>>,
    /// What prompts and completions are given as.
    pub format: Conversation,
    /// Completions are given with the model's thoughts, which are left out otherwise: for functions that judge the form of a
    /// thought, such as TRL's `think_format_reward`.
    pub thoughts: bool,
    /// Call it once for all answers to a task, in contrast to once for each as soon as it is there.
    pub group: bool,
    /// The value from which on an answer counts as correct.
    pub correct_from: f64,
    /// Seconds that one call may take.
    pub seconds: f64,
    /// Seconds that starting Python and loading the function may take.
    pub start_seconds: f64,
    /// Processes at once; 0 for as many as there are cores. What a function keeps between calls is kept in each.
    pub workers: usize,
    /// The file that prints are appended to; empty drops them.
    pub log: String,
    /// The Python that runs it; empty for RELIGN_PYTHON, else the active virtual environment's, else `python3`.
    pub python: String,
}

/// What prompts and completions are given as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Conversation {
    /// Lists of messages, `{"role": ..., "content": ...}` each: TRL's conversational format.
    #[default]
    Chat,
    /// Plain text: TRL's standard format. A prompt is its messages' texts, with an empty line between.
    Text,
}

impl Default for Python {
    fn default() -> Self {
        Self {
            function: String::new(),
            arguments: None,
            format: Conversation::Chat,
            thoughts: false,
            group: true,
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
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "python",
    schema: schema_of::<Python>,
    build: |settings| Ok(Box::new(Calling::new(parse(settings)?)?)),
};

/// A [`Python`] whose settings are understood.
struct Calling {
    python: Python,
    workers: Workers,
}

/// What a worker answers.
#[derive(Deserialize)]
struct Answer {
    scores: Vec<Option<f64>>,
    /// What went wrong with each, where that is known.
    #[serde(default)]
    errors: Option<Vec<Option<String>>>,
}

/// The scores of `count` completions that the object `name` answered with; a value from `correct_from` on is correct.
pub(crate) fn scores(name: &str, answer: Value, count: usize, correct_from: f64) -> Result<Vec<Score>, String> {
    let wrong = |what: &str| format!("{name}: {what}");
    let Answer { scores, errors } = serde_json::from_value(answer).map_err(|error| wrong(&error.to_string()))?;
    if scores.len() != count {
        return Err(wrong(&format!("expected {count} numbers, got {}", scores.len())));
    }
    let mut errors = errors.unwrap_or_default().into_iter();
    let score = |value: Option<f64>| match (value, errors.next().flatten()) {
        (_, Some(error)) => Score::failed(wrong(&error)),
        (None, None) => Score::failed(wrong("it leaves this answer out (None)")),
        (Some(value), None) => {
            let verdict = if value >= correct_from { Verdict::Correct } else { Verdict::Wrong };
            Score { verdict, value, ..Score::wrong("") }
        }
    };
    Ok(scores.into_iter().map(score).collect())
}

impl Calling {
    fn new(python: Python) -> Result<Self, ConfigError> {
        seconds("seconds", python.seconds)?;
        seconds("start_seconds", python.start_seconds)?;
        if !python.correct_from.is_finite() {
            return Err(ConfigError::at("correct_from", format!("expected a number, got {}", python.correct_from)));
        }
        let loading = Loading {
            object: python.function.clone(),
            arguments: python.arguments.clone(),
            environment: None,
            limit: Duration::from_secs_f64(python.seconds),
            start_limit: Duration::from_secs_f64(python.start_seconds),
            workers: python.workers,
            log: python.log.clone().into(),
            python: python.python.clone().into(),
        };
        loading.parts().map_err(|error| error.within("function"))?;
        Ok(Self { python, workers: Workers::new(loading) })
    }

    fn call(&self, task: &Task, group: &[Transcript]) -> Result<Vec<Score>, String> {
        let answers: Vec<Transcript>;
        let group = if self.python.thoughts {
            group
        } else {
            answers = group.iter().map(Transcript::answers).collect();
            &answers
        };
        let answer = self.workers.call(&call(self.python.format, task, group))?;
        scores(&self.python.function, answer, group.len(), self.python.correct_from)
    }
}

/// The arguments of one call, as the worker reads them.
#[derive(Serialize)]
pub(crate) struct Call<'a> {
    #[serde(rename = "do")]
    action: &'static str,
    prompts: Repeated<Value>,
    completions: Vec<Value>,
    completion_ids: Option<Vec<&'a Vec<u32>>>,
    finished: Vec<bool>,
    columns: Columns<'a>,
    /// Where the task's row is, in an environment of the worker's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<Value>,
}

/// A value so many times.
struct Repeated<T>(T, usize);

impl<T: Serialize> Serialize for Repeated<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(std::iter::repeat_n(&self.0, self.1))
    }
}

/// A task's columns: each is a list with one value for each completion.
struct Columns<'a>(&'a Task, usize);

/// Columns that TRL does not hand over as such either, and names that functions get otherwise.
const OWN: [&str; 8] =
    ["prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"];

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(task, n) = self;
        let typed = &task.columns;
        let mut map = serializer.serialize_map(None)?;
        for name in ["answer", "solution"] {
            // The answer goes by both names, unless something else is called `solution`.
            match (typed.get(name).or(typed.get("answer")), task.facts.get(name)) {
                (None, Some(fact)) => map.serialize_entry(name, &Repeated(fact, *n))?,
                (Some(value), _) => map.serialize_entry(name, &Repeated(value, *n))?,
                (None, None) => map.serialize_entry(name, &Repeated(&task.answer, *n))?,
            }
        }
        let other = |name: &str| !OWN.contains(&name) && name != "answer" && name != "solution";
        for (name, value) in typed.iter().filter(|(name, _)| other(name)) {
            map.serialize_entry(name, &Repeated(value, *n))?;
        }
        for (name, fact) in task.facts.iter().filter(|(name, _)| other(name) && !typed.contains_key(*name)) {
            map.serialize_entry(name, &Repeated(fact, *n))?;
        }
        map.end()
    }
}

/// The call for the answers `group` to `task`.
pub(crate) fn call<'a>(format: Conversation, task: &'a Task, group: &'a [Transcript]) -> Call<'a> {
    let n = group.len();
    let prompt = match format {
        Conversation::Chat => json!(task.messages),
        Conversation::Text => {
            json!(task.messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n"))
        }
    };
    let completion = |transcript: &Transcript| match format {
        // A completion has a message, also where nothing was said: functions read the first.
        Conversation::Chat if transcript.messages.is_empty() => json!([{"role": "assistant", "content": ""}]),
        Conversation::Chat => json!(transcript.messages),
        Conversation::Text => {
            let said = transcript.messages.iter().filter(|message| message.role == Role::Assistant);
            json!(said.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n"))
        }
    };
    Call {
        action: "score",
        prompts: Repeated(prompt, n),
        completions: group.iter().map(completion).collect(),
        completion_ids: group.iter().map(|transcript| transcript.ids.as_ref()).collect(),
        finished: group.iter().map(|transcript| transcript.finished).collect(),
        columns: Columns(task, n),
        at: None,
    }
}

impl Reward for Calling {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        match self.call(task, std::slice::from_ref(transcript)) {
            Ok(scores) => scores.into_iter().next().unwrap_or_else(|| Score::failed("no score")),
            Err(why) => Score::failed(why),
        }
    }

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        if !self.python.group {
            return group.iter().map(|transcript| self.score(task, transcript)).collect();
        }
        match self.call(task, group) {
            Ok(scores) => scores,
            Err(why) => group.iter().map(|_| Score::failed(why.as_str())).collect(),
        }
    }

    fn needs(&self) -> RewardNeeds {
        RewardNeeds { group: self.python.group, at_once: 0, waits: self.workers.waits() }
    }

    fn prepare(&self) -> Result<(), String> {
        self.workers.prepare().map(drop)
    }
}
