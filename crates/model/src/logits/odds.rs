//! What a distribution says of a token and of its rivals.

use relign_core::Odds;

use crate::kernels::softmax::{RowStats, log_probability, stats};

/// The odds of `token` in a row of the model's logits, with the `top` most likely tokens.
pub(super) fn odds(row: &[f32], token: u32, top: usize) -> Odds {
    let RowStats { max, log_total, .. } = of(row, 1.0);
    let own = row[token as usize];
    Odds {
        logprob: log_probability(own, 1.0, max, log_total),
        rank: Some(1 + row.iter().filter(|&&logit| logit > own).count()),
        model: ranked(row, 1.0, top, max, log_total),
        sampler: Vec::new(),
    }
}

/// The `top` most likely tokens of `softmax(row * scale)` and their log-probabilities, most likely first, of equals
/// the lower ids; minus infinity is no logit of a token that can be drawn.
pub(super) fn most_likely(row: &[f32], scale: f32, top: usize) -> Vec<(u32, f32)> {
    let RowStats { max, log_total, .. } = of(row, scale);
    ranked(row, scale, top, max, log_total)
}

fn of(row: &[f32], scale: f32) -> RowStats {
    let mut out = [RowStats::default()];
    stats(row, row.len(), scale, &mut out);
    out[0]
}

fn ranked(row: &[f32], scale: f32, top: usize, max: f32, log_total: f64) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
    for (token, &logit) in row.iter().enumerate() {
        let beats = best.len() < top || best.last().is_some_and(|&(_, last)| logit > last);
        if beats && logit > f32::NEG_INFINITY {
            let place = best.partition_point(|&(_, other)| other >= logit);
            best.insert(place, (token as u32, logit));
            best.truncate(top);
        }
    }
    best.into_iter().map(|(token, logit)| (token, log_probability(logit, scale, max, log_total))).collect()
}
