//! The difference between two measurements of the same items.

use relign_core::Estimate;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::{Z, mcnemar};

/// How far apart two measurements of the same items are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The mean of `after - before`.
    pub difference: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Its standard error, clustered.
    pub error: f64,
    /// The two-sided p-value of no difference: McNemar's exact test for one sample of each item, Student's else.
    pub p: f64,
    /// Items.
    pub n: u64,
    /// Clusters of items; as many as items where they are independent.
    pub clusters: u64,
}

impl Difference {
    /// The standard error that a mean over several measurements counts with. Where no item's spread tells it, as with all
    /// items changed alike, it is 0 and the interval is not: the wider of the two is the truth.
    pub(crate) fn spread(&self) -> f64 {
        self.error.max((self.high - self.low) / (2.0 * Z))
    }
}

/// The standard error of the mean of `values` whose errors go together within a cluster (Miller,
/// 2411.00640, appendix A): `sqrt(G / (G - 1) * sum over clusters of (sum of deviations)^2) / n`.
///
/// The factor of the number of clusters `G`, which the paper leaves out, removes the bias of few
/// clusters; with one value in each cluster this is the ordinary standard error. 0 for fewer than two
/// clusters. `clusters[i]` is the cluster of value `i`; the numbers count from 0.
#[must_use]
pub fn clustered_error(values: &[f64], clusters: &[usize]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let mut sums = vec![None; clusters.iter().max().map_or(0, |&last| last + 1)];
    for (value, &cluster) in values.iter().zip(clusters) {
        *sums[cluster].get_or_insert(0.0) += value - mean;
    }
    let sums: Vec<f64> = sums.into_iter().flatten().collect();
    let count = sums.len() as f64;
    if sums.len() < 2 {
        return 0.0;
    }
    (count / (count - 1.0) * sums.iter().map(|sum| sum * sum).sum::<f64>()).sqrt() / n
}

fn distinct(clusters: &[usize]) -> usize {
    let mut seen: Vec<usize> = clusters.to_vec();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// The mean of items' own means, with a 95 % interval whose error is clustered: Student's with as many
/// degrees of freedom as there are clusters, less one. Without an error (all items alike) the interval is
/// Wilson's over the clusters.
#[must_use]
pub fn clustered_mean(means: &[f64], clusters: &[usize]) -> Estimate {
    let count = distinct(clusters);
    if count == means.len() {
        return super::clustered(means);
    }
    let n = means.len() as u64;
    let mean = means.iter().sum::<f64>() / n.max(1) as f64;
    let error = clustered_error(means, clusters);
    match StudentsT::new(0.0, 1.0, count.saturating_sub(1) as f64) {
        Ok(student) if error > 0.0 => {
            let half = student.inverse_cdf(0.975) * error;
            Estimate { accuracy: mean, low: (mean - half).max(0.0), high: (mean + half).min(1.0), n }
        }
        _ => Estimate { n, ..super::wilson_of(mean, count as u64) },
    }
}

/// The difference of items' means before and after, which must be of the same items in the same order.
///
/// Where every mean is 0 or 1 and items are independent, as with one sample of each, the interval is
/// Bonett and Price's (2012) and the test McNemar's: both are sound also where few items changed. Else
/// both are Student's on the clustered error of the items' differences.
#[must_use]
pub fn difference(before: &[f64], after: &[f64], clusters: &[usize]) -> Difference {
    let gains: Vec<f64> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    let n = gains.len();
    let count = distinct(clusters);
    let mean = if n == 0 { 0.0 } else { gains.iter().sum::<f64>() / n as f64 };
    let error = clustered_error(&gains, clusters);
    let won = gains.iter().filter(|gain| **gain > 0.0).count() as u64;
    let lost = gains.iter().filter(|gain| **gain < 0.0).count() as u64;
    let whole = before.iter().chain(after).all(|mean| *mean == 0.0 || *mean == 1.0);
    let student = StudentsT::new(0.0, 1.0, count.saturating_sub(1) as f64).ok().filter(|_| error > 0.0);
    let (low, high, p) = match student {
        Some(student) if !(whole && count == n) => {
            let half = student.inverse_cdf(0.975) * error;
            (mean - half, mean + half, 2.0 * student.cdf(-(mean / error).abs()))
        }
        _ => {
            let (low, high) = bonett_price(won, lost, count as u64);
            (low.min(mean), high.max(mean), mcnemar(won, lost))
        }
    };
    let (low, high) = (low.max(-1.0), high.min(1.0));
    Difference { difference: mean, low, high, error, p, n: n as u64, clusters: count as u64 }
}

/// Bonett and Price's (2012) adjusted Wald interval for a difference of paired shares: one item is added
/// to those won and one to those lost.
fn bonett_price(won: u64, lost: u64, n: u64) -> (f64, f64) {
    let total = n as f64 + 2.0;
    let (up, down) = ((won + 1) as f64 / total, (lost + 1) as f64 / total);
    let half = Z * ((up + down - (up - down).powi(2)) / total).sqrt();
    (up - down - half, up - down + half)
}

/// The smallest true difference that a test at level 0.05 would have found with the chance `power`,
/// given the standard error of the difference: `(z(0.975) + z(power)) * error`.
#[must_use]
pub fn minimum_detectable(error: f64, power: f64) -> f64 {
    (Z + Normal::standard().inverse_cdf(power)) * error
}

/// The number of items that would find a true difference `wanted` with the chance `power`, given the
/// error of `n` items; none for a difference of 0.
#[must_use]
pub fn needed(wanted: f64, error: f64, n: u64, power: f64) -> Option<u64> {
    let items = n as f64 * (minimum_detectable(error, power) / wanted).powi(2);
    items.is_finite().then_some(items.ceil() as u64)
}
