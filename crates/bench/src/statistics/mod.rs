//! Intervals and tests for shares of solved items.

mod bootstrap;
mod difference;
mod many;
mod sampled;

pub use bootstrap::{Interval, bootstrap, relative_uplift};
pub use difference::{Difference, clustered_error, clustered_mean, difference, minimum_detectable, needed};
pub use many::{benjamini_hochberg, holm};
pub use sampled::{g_pass_at_k, maj_at_k, mg_pass_at_k, pass_at_k, pass_hat_k};

use relign_core::Estimate;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// The standard normal's 97.5 % point.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// Measurements that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatisticsError {
    /// Paired measurements must be of the same items.
    #[error("paired measurements: expected as many after as before ({before}), got {after}")]
    Unpaired {
        /// Items measured before.
        before: usize,
        /// Items measured after.
        after: usize,
    },
}

/// The share `hits / n` with Wilson's 95 % score interval (Wilson 1927), which keeps its coverage for
/// small `n` and for shares near 0 and 1. Nothing measured is a share of 0 somewhere between 0 and 1.
#[must_use]
pub fn wilson(hits: u64, n: u64) -> Estimate {
    let share = if n == 0 { 0.0 } else { hits.min(n) as f64 / n as f64 };
    wilson_of(share, n)
}

fn wilson_of(share: f64, n: u64) -> Estimate {
    if n == 0 {
        return Estimate { accuracy: 0.0, low: 0.0, high: 1.0, n };
    }
    let count = n as f64;
    let z2 = Z * Z / count;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (share * (1.0 - share) / count + z2 / (4.0 * count)).sqrt();
    // The interval touches the end that the share is at; rounding must not lift it off.
    let low = if share == 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if share == 1.0 { 1.0 } else { (middle + half).min(1.0) };
    Estimate { accuracy: share, low, high, n }
}

/// The mean of items that were each sampled several times, given each item's own mean, with a 95 %
/// interval whose error is clustered by item (Miller, 2411.00640): samples of one item resemble each
/// other, so items count, not samples.
///
/// The error is the items' standard deviation over the root of their number, the interval Student's.
/// Where items do not differ at all, their spread says nothing; the interval is then Wilson's over
/// the items.
#[must_use]
pub fn clustered(means: &[f64]) -> Estimate {
    let Moments { mean, std } = moments(means);
    let n = means.len() as u64;
    let student = if n < 2 { None } else { StudentsT::new(0.0, 1.0, (n - 1) as f64).ok() };
    match student {
        Some(student) if std > 0.0 => {
            let half = student.inverse_cdf(0.975) * std / (n as f64).sqrt();
            Estimate { accuracy: mean, low: (mean - half).max(0.0), high: (mean + half).min(1.0), n }
        }
        _ => wilson_of(mean, n),
    }
}

/// The exact two-sided p-value of McNemar's test (McNemar 1947): how likely `won` and `lost` items
/// would be at least as unequal if winning and losing an item were equally likely. Items that stayed
/// as they were say nothing.
#[must_use]
pub fn mcnemar(won: u64, lost: u64) -> f64 {
    let n = won + lost;
    match Binomial::new(0.5, n) {
        Ok(binomial) if n > 0 => (2.0 * binomial.cdf(won.min(lost))).min(1.0),
        _ => 1.0,
    }
}

/// Two measurements of the same items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The share solved before.
    pub before: Estimate,
    /// The share solved after.
    pub after: Estimate,
    /// Items solved only after.
    pub won: u64,
    /// Items solved only before.
    pub lost: u64,
    /// The exact two-sided p-value of McNemar's test.
    pub p: f64,
}

/// Compares what was solved before and after, item by item.
///
/// # Errors
/// If the two are not of the same length.
pub fn paired(before: &[bool], after: &[bool]) -> Result<Paired, StatisticsError> {
    if before.len() != after.len() {
        return Err(StatisticsError::Unpaired { before: before.len(), after: after.len() });
    }
    let count = |keep: fn(bool, bool) -> bool| before.iter().zip(after).filter(|&(&b, &a)| keep(b, a)).count() as u64;
    let (won, lost) = (count(|b, a| a && !b), count(|b, a| b && !a));
    let n = before.len() as u64;
    Ok(Paired {
        before: wilson(count(|b, _| b), n),
        after: wilson(count(|_, a| a), n),
        won,
        lost,
        p: mcnemar(won, lost),
    })
}

/// Mean and sample standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The mean; 0 of nothing.
    pub mean: f64,
    /// The standard deviation over `n - 1`; 0 of fewer than two values.
    pub std: f64,
}

/// Mean and sample standard deviation of `values`.
#[must_use]
pub fn moments(values: &[f64]) -> Moments {
    if values.is_empty() {
        return Moments::default();
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let std = if values.len() < 2 { 0.0 } else { (squares / (n - 1.0)).sqrt() };
    Moments { mean, std }
}
