//! Log-probabilities, entropies and draws from rows of logits.

use tch::Tensor;

use crate::kernels::element::{view, view_mut, with_element};
use crate::kernels::softmax::{self, RowGrad, RowStats};

/// How to draw from one row of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f32,
    /// The randomness: uniform in `[0, 1)`.
    pub uniform: f64,
}

/// Draws one token from each row of `logits` `[n, vocab]`; the log-probability is that of the
/// distribution drawn from, at temperature 0 that of the model.
///
/// # Panics
/// If `logits` is not a contiguous matrix with a row per draw.
#[must_use]
pub fn draw(logits: &Tensor, draws: &[Draw]) -> Vec<(u32, f32)> {
    let (n, vocab) = logits.size2().expect("logits [n, vocab]");
    assert_eq!(n as usize, draws.len(), "one draw per row");
    let rows: Vec<_> = draws
        .iter()
        .map(|d| if d.temperature > 0.0 { (1.0 / d.temperature, Some(d.uniform)) } else { (1.0, None) })
        .collect();
    let mut out = vec![(0, 0.0); draws.len()];
    with_element!(logits.kind(), T => softmax::draw::<T>(view(logits), vocab as usize, &rows, &mut out));
    out
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
        let mut stats = vec![RowStats::default(); targets.len()];
        let mut logp = Vec::with_capacity(targets.len());
        with_element!(logits.kind(), T => {
            use crate::kernels::element::Element;
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
