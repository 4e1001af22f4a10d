//! How an answer is judged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::brief_numbers;
use crate::{Message, Role, Task, ThoughtMarkers, without_thoughts};

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
    /// The final answer that was found, in the judge's own form, for counting votes; none where the judge does not tell.
    /// Which answers are the same is for [`Reward::same`] to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
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
    /// The largest worth, up or down: sums and squares of some thousands of it are finite in 32 bits.
    pub const MOST: f64 = 1e9;

    /// The same score, or a failure where a number of it is not finite or beyond [`MOST`](Self::MOST).
    #[must_use]
    pub fn bounded(self) -> Self {
        let parts = self.parts.iter().map(|(name, value)| (format!("reward `{name}`"), *value));
        let mut all = parts.chain([("reward".to_owned(), self.value)]);
        let Some((what, value)) = all.find(|(_, value)| value.is_nan() || value.abs() > Self::MOST) else {
            return self;
        };
        let expected = if value.is_finite() { "a value from -1e9 to 1e9" } else { "a finite value" };
        Self::failed(brief_numbers(&format!("{what}: expected {expected}, got {value}")))
    }

    /// A right answer, worth 1.
    pub fn correct(reason: impl Into<String>) -> Self {
        Self::of(Verdict::Correct, 1.0, reason.into())
    }

    /// A wrong answer, worth 0.
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self::of(Verdict::Wrong, 0.0, reason.into())
    }

    /// No answer found, worth 0.
    pub fn unparsed(reason: impl Into<String>) -> Self {
        Self::of(Verdict::Unparsed, 0.0, reason.into())
    }

    /// The judge failed.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::of(Verdict::Failed, 0.0, reason.into())
    }

    /// With the answer that was found.
    #[must_use]
    pub fn answering(self, answer: impl Into<String>) -> Self {
        Self { answer: Some(answer.into()), ..self }
    }

    fn of(verdict: Verdict, value: f64, reason: String) -> Self {
        Self { verdict, value, parts: BTreeMap::new(), reason, answer: None }
    }
}

/// What a reward reads: everything said after the task's own messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// The model's turns and the environment's, in order.
    pub messages: Vec<Message>,
    /// Whether the model ended by itself, in contrast to being cut off by a limit.
    pub finished: bool,
    /// The tokens that the model sampled for it, all its turns in a row; unknown where a server does not tell them, or
    /// where no model was asked.
    pub ids: Option<Vec<u32>>,
    /// Whether the model's turns begin within a thought, which the prompt opened.
    pub in_thought: bool,
    /// What marks thoughts beside the usual marks.
    pub thought_markers: ThoughtMarkers,
}

impl Transcript {
    /// The transcript of a single completion.
    pub fn of(text: impl Into<String>, finished: bool) -> Self {
        Self { messages: vec![Message::assistant(text)], finished, ..Self::default() }
    }

    /// The model's last turn; empty when it said nothing.
    #[must_use]
    pub fn last(&self) -> &str {
        self.messages.iter().rev().find(|m| m.role == Role::Assistant).map_or("", |m| &m.content)
    }

    /// What the model's last turn answers: its text without [thoughts](without_thoughts). Empty where a thought never ended.
    #[must_use]
    pub fn answer(&self) -> Cow<'_, str> {
        without_thoughts(self.last(), self.in_thought, &self.thought_markers)
    }

    /// The same transcript without the thoughts of the model's turns.
    #[must_use]
    pub fn answers(&self) -> Self {
        let mut answers = self.clone();
        for message in answers.messages.iter_mut().filter(|message| message.role == Role::Assistant) {
            message.content = without_thoughts(&message.content, self.in_thought, &self.thought_markers).into_owned();
        }
        answers
    }
}

/// Judges a transcript. Pure: the same task and transcript give the same score.
///
/// Rewards run in a thread pool under a time limit; one that panics or overruns yields
/// [`Verdict::Failed`] for that sample and harms nothing else.
pub trait Reward: Send + Sync {
    /// The score of `transcript` as an answer to `task`.
    fn score(&self, task: &Task, transcript: &Transcript) -> Score;

    /// The scores of several answers to `task`, one for each, in their order. A reward that sees answers beside one
    /// another, or judges many at the price of one, has its own way here and says so in [`RewardNeeds::group`].
    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        group.iter().map(|transcript| self.score(task, transcript)).collect()
    }

    /// Whether two answers to `task`, as [`Score::answer`] has them, are the same answer.
    fn same(&self, _task: &Task, a: &str, b: &str) -> bool {
        a == b
    }

    /// What it asks of whoever runs it.
    fn needs(&self) -> RewardNeeds {
        RewardNeeds::default()
    }

    /// Gets ready: starts what it works with and looks at what it reads. Called once before work begins, so that
    /// what is missing is said before anything is spent.
    ///
    /// # Errors
    /// If it could never judge anything; the message names thing, expected and got.
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }

    /// What it asked of others so far; `None` for one that asks nobody.
    fn spent(&self) -> Option<Spent> {
        None
    }
}

/// What a [`Reward`] asks of whoever runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewardNeeds {
    /// To be given the answers to a task together, in contrast to each as soon as it is there.
    pub group: bool,
    /// Calls at once that it gains from; 0 for as many as there are cores.
    pub at_once: usize,
    /// The longest that judging one transcript waits for others (a server, a process) and is bounded by the reward
    /// itself: on top of the time that rewards have.
    pub waits: Duration,
}

impl RewardNeeds {
    /// What two rewards need that judge one after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            group: self.group || other.group,
            at_once: self.at_once.max(other.at_once),
            waits: self.waits.saturating_add(other.waits),
        }
    }
}

/// What a reward asked of servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Requests that went out, tries after the first not counted.
    pub requests: u64,
    /// Judgements that needed none: kept from before, or asked for already.
    pub cached: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Requests that came to nothing.
    pub failed: u64,
    /// Tokens read, as the servers count them.
    pub prompt_tokens: u64,
    /// Tokens written, as the servers count them.
    pub completion_tokens: u64,
    /// Answers whose tokens were not counted.
    pub uncounted: u64,
    /// Their price in US dollars, by the prices in the reward's settings.
    pub usd: f64,
}

impl Spent {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            cached: self.cached + other.cached,
            retries: self.retries + other.retries,
            failed: self.failed + other.failed,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            uncounted: self.uncounted + other.uncounted,
            usd: self.usd + other.usd,
        }
    }
}
