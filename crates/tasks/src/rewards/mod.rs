//! The rewards: one file each, one line each in [`REWARDS`].

use std::borrow::Cow;
use std::sync::Arc;

use relign_core::{Entry, Environment, Reward, Score, Task, Transcript};

pub mod by_form;
pub mod choice;
pub mod code;
pub mod exact_match;
pub mod f1;
pub mod final_number;
pub mod format;
pub mod label;
pub mod language;
pub mod length;
pub mod math;
pub mod numeric;
pub mod overlong;
pub mod repetition;
mod stated;
mod units;
mod weighted;

pub use code::Code;
pub use final_number::FinalNumber;
pub use format::Format;
pub use length::Length;
pub(crate) use stated::last_boxed;
pub use weighted::Weighted;

/// All rewards.
pub const REWARDS: &[Entry<dyn Reward>] = &[
    by_form::ENTRY,
    choice::ENTRY,
    code::ENTRY,
    exact_match::ENTRY,
    f1::ENTRY,
    final_number::ENTRY,
    format::ENTRY,
    label::ENTRY,
    language::ENTRY,
    length::ENTRY,
    math::ENTRY,
    numeric::ENTRY,
    overlong::ENTRY,
    repetition::ENTRY,
];

/// A score that says nothing about being right: nothing lost counts as correct, because the verdict of a
/// sum is its first part's.
pub(crate) fn shaped(value: f64, reason: String) -> Score {
    let score = if value < 0.0 { Score::wrong(reason) } else { Score::correct(reason) };
    Score { value, ..score }
}

/// An environment's own judgement, as a reward.
pub struct Own(pub Arc<dyn Environment>);

impl Own {
    /// What a recipe calls it among its rewards.
    pub const NAME: &str = "environment";
}

impl Reward for Own {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        self.0.score(task, transcript)
    }
}

/// The model's last turn without verbatim repetitions of what it was asked: whoever repeats the
/// question has not answered it.
pub(crate) fn said<'a>(task: &Task, transcript: &'a Transcript) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(transcript.last());
    for asked in task.messages.iter().map(|message| message.content.trim()) {
        if !asked.is_empty() && text.contains(asked) {
            text = Cow::Owned(text.replace(asked, " "));
        }
    }
    text
}
