//! Items that one model does better on than the other, with what was said.

use relign_core::Verdict;
use serde::{Deserialize, Serialize};

use crate::results::{Results, Sample};

/// An item that flipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// The item's id.
    pub item: String,
    /// What was asked last.
    pub question: String,
    /// The reference answer.
    pub expected: String,
    /// The base's figure and the tuned model's.
    pub figures: [f64; 2],
    /// What the base said.
    pub base: Answer,
    /// What the tuned model said.
    pub tuned: Answer,
}

/// What was said, and how it was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The text.
    pub text: String,
}

/// At most `limit` items each way, the largest changes first, else in the items' order. Of several
/// samples the first one is shown that is on the side that the change is on.
pub(super) fn flips(
    base: &Results,
    tuned: &Results,
    pairs: &[(usize, usize, f64, f64)],
    limit: usize,
) -> (Vec<Flip>, Vec<Flip>) {
    let flip = |&(place, other, before, after): &(usize, usize, f64, f64)| {
        let (won, task) = (after > before, &base.items[place].task);
        Some(Flip {
            item: task.id.clone(),
            question: task.messages.last().map(|message| message.content.clone()).unwrap_or_default(),
            expected: task.answer.clone(),
            figures: [before, after],
            base: shown(&base.samples[place], !won)?,
            tuned: shown(&tuned.samples[other], won)?,
        })
    };
    let side = |sign: f64| {
        let mut changed: Vec<_> = pairs.iter().filter(|pair| sign * (pair.3 - pair.2) > 0.0).collect();
        changed.sort_by(|a, b| (sign * (b.3 - b.2)).total_cmp(&(sign * (a.3 - a.2))));
        changed.into_iter().filter_map(flip).take(limit).collect()
    };
    (side(1.0), side(-1.0))
}

fn shown(samples: &[Option<Sample>], right: bool) -> Option<Answer> {
    let fits = |sample: &&Sample| (sample.score.verdict == Verdict::Correct) == right;
    let all = || samples.iter().flatten().filter(|sample| sample.score.verdict != Verdict::Failed);
    let sample = all().find(fits).or_else(|| all().next())?;
    let (verdict, reason, text) = (sample.score.verdict, sample.score.reason.clone(), sample.text.clone());
    Some(Answer { verdict, reason, text })
}
