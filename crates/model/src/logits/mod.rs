//! Log-probabilities, entropies and draws from rows of logits.

mod odds;
mod shape;

use relign_core::Odds;
use tch::{Device, Tensor};

use crate::device::is_written_out;
use crate::kernels::element::{Element, view, view_mut, with_element};
use crate::kernels::parallel::each;
use crate::kernels::softmax::{self, RowGrad, RowStats};
use crate::plain;

pub use shape::{Seen, Shape};

/// How to draw from one row of logits.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f32,
    /// The randomness: uniform in `[0, 1)`.
    pub uniform: f64,
    /// What the row goes through first.
    pub shape: Option<Shape<'a>>,
    /// Tell the odds, with so many alternatives.
    pub odds: Option<usize>,
}

/// What was drawn from one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// Its log-probability under the distribution drawn from, at temperature 0 under that before the temperature.
    pub logprob: f32,
    /// What could have been drawn, where that was asked for.
    pub odds: Option<Odds>,
}

/// Draws one token from each row of `logits` `[n, vocab]`. A row's outcome depends on that row and its draw alone.
///
/// # Panics
/// If `logits` is not a contiguous matrix with a row per draw.
#[must_use]
pub fn draw(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Drawn> {
    let (n, vocab) = logits.size2().expect("logits [n, vocab]");
    assert_eq!(n as usize, draws.len(), "one draw per row");
    // Drawing is the CPU's wherever logits were made: they are all that crosses over.
    let (logits, vocab) = (&logits.to_device(Device::Cpu), vocab as usize);
    if draws.iter().all(|draw| draw.shape.is_none() && draw.odds.is_none()) {
        let rows: Vec<_> = draws.iter().map(how).collect();
        let mut out = vec![(0, 0.0); draws.len()];
        with_element!(logits.kind(), T => softmax::draw::<T>(view(logits), vocab, &rows, &mut out));
        return out.into_iter().map(|(token, logprob)| Drawn { token, logprob, odds: None }).collect();
    }
    let mut out = vec![Drawn::default(); draws.len()];
    with_element!(logits.kind(), T => {
        let rows = view::<T>(logits);
        each(&mut out, &|at, out| *out = draw_one::<T>(&rows[at * vocab..(at + 1) * vocab], &draws[at]));
    });
    out
}

/// The odds of `targets` in rows of `logits` `[n, vocab]` as they are, each with the `top` most likely tokens.
///
/// # Panics
/// If there is not one target per row, or one lies outside the vocabulary.
#[must_use]
pub fn odds_of(logits: &Tensor, targets: &[(u32, usize)]) -> Vec<Odds> {
    let (n, vocab) = logits.size2().expect("logits [n, vocab]");
    assert_eq!(n as usize, targets.len(), "one target per row");
    let (logits, vocab) = (&logits.to_device(Device::Cpu), vocab as usize);
    let mut out = vec![Odds::default(); targets.len()];
    with_element!(logits.kind(), T => {
        let rows = view::<T>(logits);
        each(&mut out, &|at, out| {
            *out = odds::odds(&loaded::<T>(&rows[at * vocab..(at + 1) * vocab]), targets[at].0, targets[at].1);
        });
    });
    out
}

/// How far the distributions of `rows` of `logits` `[n, vocab]` are from the uniform one, `KL(U || softmax(logits))` in
/// nats: `ln sum exp - mean - ln vocab` over each row (self-certainty, 2502.18581).
///
/// # Panics
/// If `logits` is not a contiguous matrix, or has no such row.
#[must_use]
pub fn certainty_of(logits: &Tensor, rows: &[usize]) -> Vec<f32> {
    let (_, vocab) = logits.size2().expect("logits [n, vocab]");
    let mut out = vec![0.0; rows.len()];
    if !rows.is_empty() {
        let logits = &logits.to_device(Device::Cpu);
        with_element!(logits.kind(), T => softmax::certainty::<T>(view(logits), vocab as usize, rows, &mut out));
    }
    out
}

/// The scale of a draw, and its randomness if it has any.
fn how(draw: &Draw<'_>) -> (f32, Option<f64>) {
    if draw.temperature > 0.0 { (1.0 / draw.temperature, Some(draw.uniform)) } else { (1.0, None) }
}

fn loaded<T: Element>(row: &[T]) -> Vec<f32> {
    row.iter().map(|logit| logit.load()).collect()
}

fn draw_one<T: Element>(row: &[T], draw: &Draw<'_>) -> Drawn {
    let (how, mut out) = (how(draw), [(0, 0.0)]);
    if draw.shape.is_none() && draw.odds.is_none() {
        softmax::draw::<T>(row, row.len(), &[how], &mut out);
        let [(token, logprob)] = out;
        return Drawn { token, logprob, odds: None };
    }
    let own = loaded(row);
    let mut shaped = own.clone();
    if let Some(shape) = &draw.shape {
        shape.apply(&mut shaped);
    }
    // The same operations as for a row that nothing is done to: a shape that changes nothing changes no bit.
    softmax::draw(&shaped, row.len(), &[how], &mut out);
    let [(token, logprob)] = out;
    let odds =
        draw.odds.map(|top| Odds { sampler: odds::most_likely(&shaped, how.0, top), ..odds::odds(&own, token, top) });
    Drawn { token, logprob, odds }
}

/// What a policy says of given tokens, and how a loss flows back through it.
///
/// Holds one chunk of logits at a time; see [`TokenStats::backward`].
#[derive(Debug)]
pub struct TokenStats {
    /// Log-probability of each token, nats.
    pub logp: Vec<f32>,
    /// Entropy of each distribution, nats.
    pub entropy: Vec<f32>,
    lse: Vec<f32>,
}

impl TokenStats {
    /// The log-probabilities of `targets` under `softmax(logits / temperature)`, `logits` `[n, vocab]`.
    ///
    /// # Panics
    /// If there is not one target per row, or one lies outside the vocabulary.
    #[must_use]
    pub fn of(logits: &Tensor, targets: &[u32], temperature: f32) -> Self {
        let (n, vocab) = logits.size2().expect("logits [n, vocab]");
        assert_eq!(n as usize, targets.len(), "one target per row");
        let vocab = vocab as usize;
        assert!(targets.iter().all(|&t| (t as usize) < vocab), "target outside the vocabulary");
        let scale = 1.0 / temperature;
        if is_written_out(logits) {
            let [logp, entropy, lse] = plain::softmax::stats(logits, targets, scale);
            return Self { logp, entropy, lse };
        }
        let mut stats = vec![RowStats::default(); targets.len()];
        let mut logp = Vec::with_capacity(targets.len());
        with_element!(logits.kind(), T => {
            let logits = view::<T>(logits);
            softmax::stats::<T>(logits, vocab, scale, &mut stats);
            for (row, (&target, stats)) in targets.iter().zip(&stats).enumerate() {
                let logit = logits[row * vocab + target as usize].load();
                logp.push(softmax::log_probability(logit, scale, stats.max, stats.log_total));
            }
        });
        Self { logp, entropy: stats.iter().map(|s| s.entropy).collect(), lse: stats.iter().map(|s| s.lse).collect() }
    }

    /// Replaces `logits` (those the statistics were made of) by the loss's gradient with respect to
    /// them, given its derivatives by each log-probability and each entropy.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn backward(&self, logits: &Tensor, targets: &[u32], temperature: f32, d_logp: &[f32], d_entropy: &[f32]) {
        let vocab = logits.size()[1] as usize;
        assert!(d_logp.len() == self.logp.len() && d_entropy.len() == self.logp.len(), "one derivative per row");
        if is_written_out(logits) {
            let Self { lse, entropy, .. } = self;
            let flow = plain::softmax::Flow { lse, entropy, targets, d_logp, d_entropy };
            return plain::softmax::gradient(logits, 1.0 / temperature, &flow);
        }
        let rows: Vec<_> = (0..targets.len())
            .map(|i| RowGrad {
                lse: self.lse[i],
                entropy: self.entropy[i],
                target: targets[i] as usize,
                d_logp: d_logp[i],
                d_entropy: d_entropy[i],
            })
            .collect();
        with_element!(logits.kind(), T => softmax::gradient::<T>(view_mut(logits), vocab, 1.0 / temperature, &rows));
    }
}
