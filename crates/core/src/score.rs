//! How an answer is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Message, Task};

/// A judgement of one transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What the judgement amounts to.
    pub verdict: Verdict,
    /// The number that training maximises; finite. Meaningless where the verdict is [`Verdict::Failed`].
    pub value: f64,
    /// The parts the value is made of, by the name of the reward that gave them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// Why: what was extracted, what was expected, or what went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a judgement amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The answer is right.
    Correct,
    /// An answer was found and it is wrong.
    Wrong,
    /// No answer was found in the text.
    Unparsed,
    /// The judge itself failed or ran out of time; the sample is masked and counted, never scored zero.
    Failed,
}

impl Score {
    /// A right answer, worth 1.
    pub fn correct(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Correct, value: 1.0, parts: BTreeMap::new(), reason: reason.into() }
    }

    /// A wrong answer, worth 0.
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, value: 0.0, parts: BTreeMap::new(), reason: reason.into() }
    }

    /// No answer found, worth 0.
    pub fn unparsed(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unparsed, value: 0.0, parts: BTreeMap::new(), reason: reason.into() }
    }

    /// The judge failed.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, value: 0.0, parts: BTreeMap::new(), reason: reason.into() }
    }
}

/// What a reward reads: everything said after the task's own messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// The model's turns and the environment's, in order.
    pub messages: Vec<Message>,
    /// Whether the model ended by itself, in contrast to being cut off by a limit.
    pub finished: bool,
    /// How many tokens the model sampled for it, all its turns together; unknown where a server does not
    /// tell them, or where no model was asked.
    pub tokens: Option<usize>,
}

impl Transcript {
    /// The transcript of a single completion.
    pub fn of(text: impl Into<String>, finished: bool) -> Self {
        Self { messages: vec![Message::assistant(text)], finished, tokens: None }
    }

    /// The model's last turn; empty when it said nothing.
    #[must_use]
    pub fn last(&self) -> &str {
        self.messages.iter().rev().find(|m| m.role == crate::Role::Assistant).map_or("", |m| &m.content)
    }
}

/// Judges a transcript. Pure: the same task and transcript give the same score.
///
/// Rewards run in a thread pool under a time limit; one that panics or overruns yields
/// [`Verdict::Failed`] for that sample and harms nothing else.
pub trait Reward: Send + Sync {
    /// The score of `transcript` as an answer to `task`.
    fn score(&self, task: &Task, transcript: &Transcript) -> Score;
}
