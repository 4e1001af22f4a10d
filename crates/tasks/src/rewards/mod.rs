//! The rewards: one file each, one line each in [`REWARDS`].

use std::borrow::Cow;
use std::sync::Arc;

use relign_core::{Entry, Environment, Reward, Score, Task, Transcript};

pub mod final_number;
pub mod format;
pub mod length;
pub mod math;
mod weighted;

pub use final_number::FinalNumber;
pub use format::Format;
pub use length::Length;
pub use weighted::Weighted;

/// All rewards.
pub const REWARDS: &[Entry<dyn Reward>] = &[final_number::ENTRY, format::ENTRY, length::ENTRY, math::ENTRY];

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
