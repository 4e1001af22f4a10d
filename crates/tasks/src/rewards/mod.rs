//! The rewards: one file each, one line each in [`REWARDS`].

use std::borrow::Cow;
use std::sync::Arc;

use relign_core::{Entry, Environment, Reward, RewardNeeds, Score, Task, Transcript};

pub mod by_form;
pub mod choice;
mod clauses;
pub mod code;
pub mod exact_match;
pub mod f1;
pub mod final_number;
pub mod format;
pub mod http;
pub mod judge;
pub mod label;
pub mod language;
pub mod length;
pub mod math;
pub mod numeric;
pub mod overlong;
pub mod python;
pub mod repetition;
pub(crate) mod server;
mod stated;
mod units;
mod weighted;

pub use code::Code;
pub use final_number::FinalNumber;
pub use format::Format;
pub use http::Http;
pub use judge::Judge;
pub use length::Length;
pub use python::Python;
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
    http::ENTRY,
    judge::ENTRY,
    label::ENTRY,
    language::ENTRY,
    length::ENTRY,
    math::ENTRY,
    numeric::ENTRY,
    overlong::ENTRY,
    python::ENTRY,
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

    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        self.0.score_group(task, group)
    }

    fn same(&self, task: &Task, a: &str, b: &str) -> bool {
        self.0.same(task, a, b)
    }

    fn needs(&self) -> RewardNeeds {
        self.0.needs()
    }
}

/// The answer of the model's last turn, thoughts left out, without verbatim repetitions of what it was asked: whoever repeats
/// the question has not answered it.
pub(crate) fn said<'a>(task: &Task, transcript: &'a Transcript) -> Cow<'a, str> {
    without_question(task, transcript.answer())
}

/// `text` without verbatim repetitions of what was asked.
pub(crate) fn without_question<'a>(task: &Task, mut text: Cow<'a, str>) -> Cow<'a, str> {
    for asked in task.messages.iter().map(|message| message.content.trim()) {
        if !asked.is_empty() && text.contains(asked) {
            text = Cow::Owned(text.replace(asked, " "));
        }
    }
    text
}

/// Scores several transcripts on up to `threads` threads, in their order.
pub(crate) fn at_once(threads: usize, group: &[Transcript], score: impl Fn(&Transcript) -> Score + Sync) -> Vec<Score> {
    let share = group.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let each = |part: &[Transcript]| part.iter().map(&score).collect::<Vec<_>>();
        let threads: Vec<_> = group.chunks(share).map(|part| scope.spawn(move || each(part))).collect();
        let parts = threads.into_iter().zip(group.chunks(share));
        let judged = parts.map(|(thread, part)| {
            let panicked = |_| part.iter().map(|_| Score::failed("the reward panicked")).collect();
            thread.join().unwrap_or_else(panicked)
        });
        judged.flatten().collect()
    })
}
