//! The figures that a benchmark can report.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use relign_core::{Estimate, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statistics::{clustered_mean, g_pass_at_k, maj_at_k, mg_pass_at_k, pass_at_k, pass_hat_k, wilson};

/// A figure made of an item's samples and averaged over items: `accuracy`, `avg@K`, `pass@K`, `pass^K`,
/// `maj@K`, `g-pass@K:T` (T from 0 to 1) or `mg-pass@K`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Metric {
    /// The share of right samples.
    Accuracy,
    /// The share of right samples among the first K.
    Avg(u64),
    /// The chance that one of K samples is right (2107.03374).
    Pass(u64),
    /// The chance that all of K samples are right (2406.12045).
    PassHat(u64),
    /// The chance that K samples elect the right answer (2203.11171).
    Maj(u64),
    /// The chance that at least this share of K samples is right (2412.13147).
    GPass(u64, f64),
    /// `g-pass@K:T` averaged over T from a half up (2412.13147).
    MgPass(u64),
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accuracy => write!(f, "accuracy"),
            Self::Avg(k) => write!(f, "avg@{k}"),
            Self::Pass(k) => write!(f, "pass@{k}"),
            Self::PassHat(k) => write!(f, "pass^{k}"),
            Self::Maj(k) => write!(f, "maj@{k}"),
            Self::GPass(k, tau) => write!(f, "g-pass@{k}:{tau}"),
            Self::MgPass(k) => write!(f, "mg-pass@{k}"),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "unknown metric `{text}`, expected accuracy, avg@K, pass@K, pass^K, maj@K, g-pass@K:T or mg-pass@K, \
                 such as pass@8 or g-pass@8:0.5"
            )
        };
        if text == "accuracy" {
            return Ok(Self::Accuracy);
        }
        let (name, rest) = text.split_once(['@', '^']).ok_or_else(unknown)?;
        let (k, tau) = rest.split_once(':').map_or((rest, None), |(k, tau)| (k, Some(tau)));
        let k = k.parse::<u64>().ok().filter(|k| *k > 0).ok_or_else(unknown)?;
        let metric = match (name, tau.map(f64::from_str)) {
            ("avg", None) => Self::Avg(k),
            ("pass", None) if text.starts_with("pass^") => Self::PassHat(k),
            ("pass", None) => Self::Pass(k),
            ("maj", None) => Self::Maj(k),
            ("g-pass", Some(Ok(tau))) if (0.0..=1.0).contains(&tau) => Self::GPass(k, tau),
            ("mg-pass", None) if k > 1 => Self::MgPass(k),
            _ => return Err(unknown()),
        };
        // `avg^3` and the like read well and mean nothing.
        if text.contains('^') && !matches!(metric, Self::PassHat(_)) { Err(unknown()) } else { Ok(metric) }
    }
}

/// The judged samples of one item, in order: the verdict on each and the answer that was found in it.
pub type Tally = Vec<(Verdict, Option<String>)>;

impl Metric {
    /// The samples of an item that the figure needs.
    #[must_use]
    pub const fn samples(self) -> u64 {
        match self {
            Self::Accuracy => 1,
            Self::Avg(k) | Self::Pass(k) | Self::PassHat(k) | Self::Maj(k) | Self::GPass(k, _) | Self::MgPass(k) => k,
        }
    }

    /// The figure for one item. None where it has too few judged samples, or where a vote cannot be counted
    /// because a wrong sample does not tell its answer.
    #[must_use]
    pub fn item(self, samples: &[(Verdict, Option<String>)]) -> Option<f64> {
        let judged: Vec<_> = samples.iter().filter(|(verdict, _)| *verdict != Verdict::Failed).collect();
        let n = judged.len() as u64;
        let right =
            |part: &[&(Verdict, Option<String>)]| part.iter().filter(|(v, _)| *v == Verdict::Correct).count() as u64;
        let correct = right(&judged);
        match self {
            Self::Accuracy => (n > 0).then(|| correct as f64 / n as f64),
            Self::Avg(k) => judged.get(..usize::try_from(k).ok()?).map(|first| right(first) as f64 / k as f64),
            Self::Pass(k) => pass_at_k(n, correct, k),
            Self::PassHat(k) => pass_hat_k(n, correct, k),
            Self::GPass(k, tau) => g_pass_at_k(n, correct, k, tau),
            Self::MgPass(k) => mg_pass_at_k(n, correct, k),
            Self::Maj(k) => {
                let mut others: HashMap<&str, u64> = HashMap::new();
                for (_, answer) in judged.iter().filter(|(verdict, _)| *verdict == Verdict::Wrong) {
                    *others.entry(answer.as_deref()?).or_default() += 1;
                }
                let mut others: Vec<u64> = others.into_values().collect();
                others.sort_unstable();
                let silent = n - correct - others.iter().sum::<u64>();
                maj_at_k(correct, &others, silent, k)
            }
        }
    }

    /// The figure over items with its 95 % interval, clustered; `clusters[i]` is the cluster of item `i`.
    /// Items that it cannot be computed for are left out, and the estimate counts the others. None where that
    /// is all of them.
    #[must_use]
    pub fn over(self, items: &[Tally], clusters: &[usize]) -> Option<Estimate> {
        let (means, clusters): (Vec<f64>, Vec<usize>) =
            items.iter().zip(clusters).filter_map(|(item, &cluster)| Some((self.item(item)?, cluster))).unzip();
        if means.is_empty() {
            return None;
        }
        let mut seen = std::collections::HashSet::new();
        let alone = clusters.iter().all(|cluster| seen.insert(*cluster));
        if alone && means.iter().all(|mean| *mean == 0.0 || *mean == 1.0) {
            return Some(wilson(means.iter().filter(|mean| **mean == 1.0).count() as u64, means.len() as u64));
        }
        Some(clustered_mean(&means, &clusters))
    }
}
