//! What makes a distribution out of logits, besides the temperature: masks, bias, penalties and cuts.

use std::collections::{BTreeSet, HashMap};

use relign_core::Sampling;

use crate::kernels::softmax::{RowStats, stats};

/// The tokens of a sequence, for what weakens those that were said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    prompt: BTreeSet<u32>,
    answer: HashMap<u32, u32>,
}

impl Seen {
    /// A sequence that begins with `prompt`.
    #[must_use]
    pub fn new(prompt: &[u32]) -> Self {
        Self { prompt: prompt.iter().copied().collect(), answer: HashMap::new() }
    }

    /// Takes a token of the answer.
    pub fn push(&mut self, token: u32) {
        *self.answer.entry(token).or_default() += 1;
    }
}

/// What a row of logits goes through before a token is drawn; the order is that of [`Sampling`].
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Whose bias, penalties and cuts apply.
    pub sampling: &'a Sampling,
    /// The tokens so far; nothing is weakened without them.
    pub seen: Option<&'a Seen>,
    /// The tokens that may be drawn, token `i` being bit `i % 32` of word `i / 32`; without it all may.
    pub allowed: Option<&'a [u32]>,
}

impl Shape<'_> {
    /// Changes a row of logits to those of the distribution that is drawn from at the sampling's temperature: what
    /// cannot be drawn becomes minus infinity. The temperature itself is left to the draw.
    pub fn apply(&self, row: &mut [f32]) {
        let Self { sampling, seen, allowed } = self;
        if let Some(allowed) = allowed {
            mask(row, allowed);
        }
        for (&token, bias) in &sampling.logit_bias {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if let Some(seen) = seen {
            weaken(row, sampling, seen);
        }
        // The most likely token survives every cut: at temperature 0 there is nothing to do.
        if sampling.temperature > 0.0 {
            cut(row, 1.0 / sampling.temperature, sampling);
        }
    }
}

fn mask(row: &mut [f32], allowed: &[u32]) {
    let words = allowed.iter().copied().chain(std::iter::repeat(0));
    for (logits, word) in row.chunks_mut(32).zip(words) {
        if word != u32::MAX {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

fn weaken(row: &mut [f32], sampling: &Sampling, seen: &Seen) {
    let Sampling { repetition_penalty: repetition, presence_penalty, frequency_penalty, .. } = *sampling;
    if repetition != 1.0 {
        let said = seen.answer.keys().filter(|token| !seen.prompt.contains(token));
        for &token in seen.prompt.iter().chain(said) {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            }
        }
    }
    if presence_penalty != 0.0 || frequency_penalty != 0.0 {
        for (&token, &count) in &seen.answer {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit -= frequency_penalty * count as f32 + presence_penalty;
            }
        }
    }
}

/// Distances below the maximum, in nats, within which the tokens that a cut leaves are looked for. A model's
/// distribution seldom needs more than the first, which spares sorting the vocabulary.
const REACH: [f32; 4] = [8.0, 16.0, 32.0, f32::INFINITY];

fn cut(row: &mut [f32], scale: f32, sampling: &Sampling) {
    let Sampling { top_k, top_p, min_p, .. } = *sampling;
    let has_k = top_k > 0 && top_k < row.len();
    if !has_k && top_p >= 1.0 && min_p <= 0.0 {
        return;
    }
    let mut whole = [RowStats::default()];
    stats(row, row.len(), scale, &mut whole);
    let [RowStats { max, log_total, .. }] = whole;
    for reach in REACH {
        let all = reach == f32::INFINITY;
        let mut near = within(row, scale, max, reach);
        // What lies farther off than all that was found comes after it in every order.
        if has_k && near.len() < top_k && !all {
            continue;
        }
        if has_k {
            keep_top_k(&mut near, top_k);
        }
        if top_p < 1.0 {
            let total = if has_k { near.iter().map(|near| near.share()).sum() } else { log_total.exp() };
            if !keep_top_p(&mut near, f64::from(top_p) * total) && !all && !has_k {
                continue;
            }
        } else if !has_k && f64::from(min_p).ln() < f64::from(-reach) {
            continue;
        }
        // Ratios to the most likely are what they were before the other cuts.
        if min_p > 0.0 {
            near.retain(|near| near.share() >= f64::from(min_p));
        }
        row.fill(f32::NEG_INFINITY);
        for Near { token, logit, .. } in near {
            row[token] = logit;
        }
        return;
    }
}

/// A token that may be left.
#[derive(Clone, Copy)]
struct Near {
    token: usize,
    logit: f32,
    /// How far it lies below the most likely one, in nats: 0 or less.
    below: f32,
}

impl Near {
    /// Its probability over that of the most likely token.
    fn share(&self) -> f64 {
        f64::from(self.below).exp()
    }
}

fn within(row: &[f32], scale: f32, max: f32, reach: f32) -> Vec<Near> {
    let near = row.iter().enumerate().map(|(token, &logit)| Near { token, logit, below: logit * scale - max });
    near.filter(|near| near.below >= -reach && near.below > f32::NEG_INFINITY).collect()
}

/// Keeps the `k` most likely, and those as likely as the last of them.
fn keep_top_k(near: &mut Vec<Near>, k: usize) {
    if near.len() > k {
        let (_, &mut Near { logit: least, .. }, _) =
            near.select_nth_unstable_by(k - 1, |a, b| b.logit.total_cmp(&a.logit));
        near.retain(|near| near.logit >= least);
    }
}

/// Keeps the most likely ones up to the one that completes the mass `wanted`, of equals those with the lower ids;
/// whether they got that far.
fn keep_top_p(near: &mut Vec<Near>, wanted: f64) -> bool {
    near.sort_unstable_by(|a, b| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token)));
    let mut mass = 0.0;
    let end = near.iter().position(|near| {
        mass += near.share();
        mass >= wanted
    });
    near.truncate(end.map_or(near.len(), |end| end + 1));
    end.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(row: &[f32], sampling: &Sampling) -> Vec<usize> {
        let mut row = row.to_vec();
        Shape { sampling, seen: None, allowed: None }.apply(&mut row);
        (0..row.len()).filter(|&token| row[token] > f32::NEG_INFINITY).collect()
    }

    /// The cuts by the book: sort everything, and look at each token.
    fn by_the_book(row: &[f32], sampling: &Sampling) -> Vec<usize> {
        let z = |token: usize| f64::from(row[token]) / f64::from(sampling.temperature);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| z(b).total_cmp(&z(a)).then(a.cmp(&b)));
        if sampling.top_k > 0 && sampling.top_k < order.len() {
            let least = row[order[sampling.top_k - 1]];
            order.retain(|&token| row[token] >= least);
        }
        if sampling.top_p < 1.0 {
            let total: f64 = order.iter().map(|&token| z(token).exp()).sum();
            let mut before = 0.0;
            order.retain(|&token| {
                let keep = before < f64::from(sampling.top_p) * total;
                before += z(token).exp();
                keep
            });
        }
        let best = z(order[0]);
        order.retain(|&token| (z(token) - best).exp() >= f64::from(sampling.min_p));
        order.sort_unstable();
        order
    }

    proptest! {
        #[test]
        fn cuts_are_those_by_the_book(
            seed in any::<u64>(),
            spread in prop::sample::select(vec![0.01_f32, 1.0, 5.0, 40.0]),
            temperature in 0.3_f32..3.0,
            top_k in 0_usize..60,
            top_p in prop::sample::select(vec![1.0_f32, 0.999, 0.9, 0.5, 0.01]),
            min_p in prop::sample::select(vec![0.0_f32, 1e-7, 0.01, 0.3, 1.0]),
        ) {
            let seed = relign_core::Seed(seed);
            // A few bits alone, so that there are equals, and no border is a matter of rounding.
            let row: Vec<f32> = (0..50).map(|i| (seed.uniform(i) * 64.0).round() as f32 / 64.0 * spread).collect();
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            prop_assert_eq!(left(&row, &sampling), by_the_book(&row, &sampling));
        }
    }

    #[test]
    fn what_was_said_is_weakened_and_what_may_not_be_said_is_taken_away() {
        let row = [2.0, -1.0, 0.5, 3.0, 0.0];
        let mut seen = Seen::new(&[0, 1, 1]);
        for token in [3, 3, 0] {
            seen.push(token);
        }
        let shaped = |sampling: Sampling, allowed: Option<&[u32]>| {
            let mut row = row.to_vec();
            Shape { sampling: &sampling, seen: Some(&seen), allowed }.apply(&mut row);
            row
        };
        // Prompt and answer, each token once however often it was said.
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(shaped(sampling, None), [1.0, -2.0, 0.5, 1.5, 0.0]);
        // The answer alone, by how often.
        let sampling = Sampling { frequency_penalty: 0.5, presence_penalty: 0.25, ..Sampling::default() };
        assert_eq!(shaped(sampling, None), [1.25, -1.0, 0.5, 1.75, 0.0]);
        // A bias comes before the penalties, and brings back nothing that was taken away.
        let bias = [(1, 4.0), (2, 9.0), (99, 1.0)].into();
        let sampling = Sampling { logit_bias: bias, repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(shaped(sampling, Some(&[0b01011])), [1.0, 1.5, f32::NEG_INFINITY, 1.5, f32::NEG_INFINITY]);
    }
}
