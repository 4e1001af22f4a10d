//! The bootstrap, for figures whose error no formula gives.

use relign_core::Seed;
use serde::{Deserialize, Deserializer, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// A figure with its interval. Ends that are infinite (a ratio whose base may be 0) are `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure as measured.
    #[serde(deserialize_with = "none_is_nan")]
    pub value: f64,
    /// The interval's lower end.
    #[serde(deserialize_with = "none_is_below_all")]
    pub low: f64,
    /// The interval's upper end.
    #[serde(deserialize_with = "none_is_above_all")]
    pub high: f64,
}

fn none_is_nan<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn none_is_below_all<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

fn none_is_above_all<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

/// The 95 % interval of `statistic` by the bootstrap with bias correction and acceleration (BCa; Efron
/// 1987), resampling `clusters` whole.
///
/// `statistic` is given the numbers of the clusters that were drawn, with repetition. Where the
/// correction cannot be computed (nothing varies, or no draw lies on one side of the figure), the
/// interval is the percentile one. The same seed gives the same interval.
pub fn bootstrap(seed: Seed, draws: usize, clusters: usize, statistic: impl Fn(&[usize]) -> f64) -> Interval {
    let all: Vec<usize> = (0..clusters).collect();
    let value = statistic(&all);
    if clusters < 2 || draws < 2 || value.is_nan() {
        return Interval { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let mut picks = vec![0; clusters];
    let mut drawn: Vec<f64> = (0..draws as u64)
        .map(|draw| {
            let seed = seed.index(draw);
            for (place, pick) in picks.iter_mut().enumerate() {
                *pick = seed.below(place as u64, clusters as u64) as usize;
            }
            statistic(&picks)
        })
        .filter(|value| !value.is_nan())
        .collect();
    drawn.sort_by(f64::total_cmp);
    let (low, high) = corrected(&drawn, value, clusters, &all, statistic).unwrap_or((0.025, 0.975));
    Interval { value, low: quantile(&drawn, low), high: quantile(&drawn, high) }
}

/// The shares of the bootstrap distribution at which BCa's interval ends.
fn corrected(
    drawn: &[f64],
    value: f64,
    clusters: usize,
    all: &[usize],
    statistic: impl Fn(&[usize]) -> f64,
) -> Option<(f64, f64)> {
    let normal = Normal::standard();
    let below = drawn.partition_point(|&d| d < value) + drawn.partition_point(|&d| d <= value);
    let bias = normal.inverse_cdf(below as f64 / (2 * drawn.len().max(1)) as f64);
    let left_out: Vec<f64> =
        (0..clusters).map(|out| statistic(&all.iter().copied().filter(|&c| c != out).collect::<Vec<_>>())).collect();
    let mean = left_out.iter().sum::<f64>() / clusters as f64;
    let power = |n: i32| left_out.iter().map(|v| (mean - v).powi(n)).sum::<f64>();
    let acceleration = power(3) / (6.0 * power(2).powf(1.5));
    let share = |z: f64| normal.cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
    let ends = (share(-super::Z), share(super::Z));
    (bias.is_finite() && acceleration.is_finite() && ends.0 < ends.1).then_some(ends)
}

/// The quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    if below == above { below } else { below + (above - below) * place.fract() }
}

/// The relative uplift `mean(after) / mean(before) - 1` of items that were measured twice, with its
/// bootstrap interval over whole clusters of items (`clusters[i]` is the cluster of item `i`).
///
/// Where nothing was solved before there is no ratio: the value is infinite, or not a number where
/// nothing was solved after, either.
#[must_use]
pub fn relative_uplift(before: &[f64], after: &[f64], clusters: &[usize], seed: Seed, draws: usize) -> Interval {
    let count = clusters.iter().max().map_or(0, |&last| last + 1);
    let mut sums = vec![(0.0, 0.0); count];
    for ((b, a), &cluster) in before.iter().zip(after).zip(clusters) {
        sums[cluster].0 += b;
        sums[cluster].1 += a;
    }
    bootstrap(seed, draws, count, |picks| {
        let (before, after) = picks.iter().fold((0.0, 0.0), |(b, a), &pick| (b + sums[pick].0, a + sums[pick].1));
        after / before - 1.0
    })
}
