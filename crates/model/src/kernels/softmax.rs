//! Log-probabilities, entropies, gradients and draws over rows of logits.

use super::dispatch;
use super::element::Element;
use super::math::{exp, fma, sum, sums};
use super::parallel::{Shared, ranges};

/// Numbers of a row that are summed in f32; the sums are added in f64.
const BLOCK: usize = 1024;

/// A token's log-probability, by the same operations where it was drawn and where it is trained on.
pub(crate) fn log_probability(logit: f32, scale: f32, max: f32, log_total: f64) -> f32 {
    (f64::from(logit * scale - max) - log_total) as f32
}

/// What a row of logits says about one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowStats {
    /// The row's maximum after scaling.
    pub(crate) max: f32,
    /// `ln sum exp` of the scaled row.
    pub(crate) lse: f32,
    /// `ln sum exp` of the scaled row less its maximum.
    pub(crate) log_total: f64,
    /// The entropy in nats.
    pub(crate) entropy: f32,
}

/// The statistics of each row of `vocab` logits multiplied by `scale`.
pub(crate) fn stats<T: Element>(logits: &[T], vocab: usize, scale: f32, out: &mut [RowStats]) {
    let rows = out.len();
    let out = Shared::new(out);
    ranges(rows, 1, &|range| {
        // SAFETY: each thread has its own rows.
        let out = unsafe { out.slice(range.clone()) };
        stats_rows(&logits[range.start * vocab..range.end * vocab], vocab, scale, out);
    });
}

dispatch! { fn stats_rows<T: Element>(logits: &[T], vocab: usize, scale: f32, out: &mut [RowStats]) = stats_body }

#[inline(always)]
fn stats_body<T: Element, const FMA: bool>(logits: &[T], vocab: usize, scale: f32, out: &mut [RowStats]) {
    for (row, out) in logits.chunks_exact(vocab).zip(out) {
        let max = maximum(row) * scale;
        // Both sums in one pass over the row: sum e^z and sum z e^z, z <= 0.
        let (mut total, mut weighted) = (0.0_f64, 0.0_f64);
        for block in row.chunks(BLOCK) {
            let [e, ze] = sums([block], |[logit]| {
                let z = fma::<FMA>(logit.load(), scale, -max);
                let e = exp::<FMA>(z);
                [e, z * e]
            });
            total += f64::from(e);
            weighted += f64::from(ze);
        }
        let log_total = total.ln();
        let lse = (f64::from(max) + log_total) as f32;
        *out = RowStats { max, lse, log_total, entropy: (log_total - weighted / total) as f32 };
    }
}

#[inline(always)]
fn maximum<T: Element>(row: &[T]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (blocks, tail) = row.as_chunks::<32>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            let value = value.load();
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let tail = tail.iter().map(|v| v.load()).fold(f32::NEG_INFINITY, f32::max);
    lanes.into_iter().fold(tail, f32::max)
}

/// How far `softmax` of each of `rows` is from the uniform distribution: `ln sum exp - mean - ln vocab`.
pub(crate) fn certainty<T: Element>(logits: &[T], vocab: usize, rows: &[usize], out: &mut [f32]) {
    let out = Shared::new(out);
    ranges(rows.len(), 1, &|range| {
        // SAFETY: each thread has its own rows.
        let out = unsafe { out.slice(range.clone()) };
        certainty_rows(logits, vocab, &rows[range], out);
    });
}

dispatch! { fn certainty_rows<T: Element>(logits: &[T], vocab: usize, rows: &[usize], out: &mut [f32]) = certainty_body }

#[inline(always)]
fn certainty_body<T: Element, const FMA: bool>(logits: &[T], vocab: usize, rows: &[usize], out: &mut [f32]) {
    for (&row, out) in rows.iter().zip(out) {
        let row = &logits[row * vocab..(row + 1) * vocab];
        let max = maximum(row);
        // Both are of distances from the maximum, which do not cancel.
        let (mut total, mut below) = (0.0_f64, 0.0_f64);
        for block in row.chunks(BLOCK) {
            let [e, z] = sums([block], |[logit]| {
                let z = logit.load() - max;
                [exp::<FMA>(z), z]
            });
            total += f64::from(e);
            below += f64::from(z);
        }
        *out = (total.ln() - below / vocab as f64 - (vocab as f64).ln()) as f32;
    }
}

/// What flows back into one row of logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGrad {
    /// The row's `ln sum exp` after scaling.
    pub(crate) lse: f32,
    /// The row's entropy.
    pub(crate) entropy: f32,
    /// The token whose log-probability was taken.
    pub(crate) target: usize,
    /// The loss's derivative by that log-probability.
    pub(crate) d_logp: f32,
    /// The loss's derivative by the entropy.
    pub(crate) d_entropy: f32,
}

/// Replaces each row of logits by the gradient of the loss with respect to it:
/// `scale * (d_logp * (onehot - p) - d_entropy * p * (ln p + entropy))`.
pub(crate) fn gradient<T: Element>(logits: &mut [T], vocab: usize, scale: f32, rows: &[RowGrad]) {
    let shared = Shared::new(logits);
    ranges(rows.len(), 1, &|range| {
        // SAFETY: each thread has its own rows.
        let logits = unsafe { shared.slice(range.start * vocab..range.end * vocab) };
        gradient_rows(logits, vocab, scale, &rows[range]);
    });
}

dispatch! { fn gradient_rows<T: Element>(logits: &mut [T], vocab: usize, scale: f32, rows: &[RowGrad]) = gradient_body }

#[inline(always)]
fn gradient_body<T: Element, const FMA: bool>(logits: &mut [T], vocab: usize, scale: f32, rows: &[RowGrad]) {
    for (row, grad) in logits.chunks_exact_mut(vocab).zip(rows) {
        let z = fma::<FMA>(row[grad.target].load(), scale, -grad.lse);
        let p = exp::<FMA>(z);
        let at_target = grad.d_logp * (1.0 - p) - grad.d_entropy * p * (z + grad.entropy);
        if grad.d_entropy == 0.0 {
            let factor = -grad.d_logp * scale;
            for logit in row.iter_mut() {
                let p = exp::<FMA>(fma::<FMA>(logit.load(), scale, -grad.lse));
                *logit = T::store(factor * p);
            }
        } else {
            for logit in row.iter_mut() {
                let z = fma::<FMA>(logit.load(), scale, -grad.lse);
                let p = exp::<FMA>(z);
                *logit = T::store(scale * p * (-grad.d_logp - grad.d_entropy * (z + grad.entropy)));
            }
        }
        row[grad.target] = T::store(scale * at_target);
    }
}

/// Draws one token from each row: the distribution is `softmax(logits * scale)`, the draw inverts
/// its cumulative sum at a uniform number in `[0, 1)`; `None` takes the most likely token. Returns
/// the token and its log-probability.
pub(crate) fn draw<T: Element>(logits: &[T], vocab: usize, rows: &[(f32, Option<f64>)], out: &mut [(u32, f32)]) {
    let shared = Shared::new(out);
    ranges(rows.len(), 1, &|range| {
        // SAFETY: each thread has its own rows.
        let out = unsafe { shared.slice(range.clone()) };
        draw_rows(&logits[range.start * vocab..range.end * vocab], vocab, &rows[range], out);
    });
}

dispatch! { fn draw_rows<T: Element>(logits: &[T], vocab: usize, rows: &[(f32, Option<f64>)], out: &mut [(u32, f32)]) = draw_body }

#[inline(always)]
fn draw_body<T: Element, const FMA: bool>(
    logits: &[T],
    vocab: usize,
    rows: &[(f32, Option<f64>)],
    out: &mut [(u32, f32)],
) {
    let mut sums = Vec::new();
    for ((row, &(scale, uniform)), out) in logits.chunks_exact(vocab).zip(rows).zip(out) {
        let max = maximum(row) * scale;
        sums.clear();
        let mut total = 0.0_f64;
        for block in row.chunks(BLOCK) {
            let part = sum(block, |logit| exp::<FMA>(fma::<FMA>(logit.load(), scale, -max)));
            total += f64::from(part);
            sums.push(part);
        }
        let token = match uniform {
            None => row.iter().position(|v| v.load() * scale == max).unwrap_or(0),
            Some(uniform) => {
                let target = uniform * total;
                let mut before = 0.0_f64;
                let mut block = 0;
                while block + 1 < sums.len() && before + f64::from(sums[block]) <= target {
                    before += f64::from(sums[block]);
                    block += 1;
                }
                let mut token = None;
                let mut last = block * BLOCK;
                for (i, logit) in row[block * BLOCK..].iter().enumerate() {
                    let p = exp::<FMA>(fma::<FMA>(logit.load(), scale, -max));
                    if p > 0.0 {
                        last = block * BLOCK + i;
                        before += f64::from(p);
                        if before > target {
                            token = Some(last);
                            break;
                        }
                    }
                }
                token.unwrap_or(last)
            }
        };
        *out = (token as u32, log_probability(row[token].load(), scale, max, total.ln()));
    }
}
