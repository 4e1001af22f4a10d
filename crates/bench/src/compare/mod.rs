//! Whether a model is better than another, by how much, and how sure that is.

mod comparable;
mod flips;
mod html;
mod markdown;
mod read;
mod text;

use std::collections::{BTreeMap, HashMap};

use relign_core::{Estimate, Seed};
use serde::{Deserialize, Serialize};

pub use flips::{Answer, Flip};
pub use html::html;
pub use markdown::{markdown, uplift};
pub use read::{ReadError, read, sealed};
pub use text::text;

use crate::results::summary::tallies;
use crate::results::{Results, Shares, summary};
use crate::statistics::{
    Difference, Interval, Z, benjamini_hochberg, difference, holm, minimum_detectable, needed, relative_uplift,
};

/// The chance with which a difference should have been found, for statements of power.
pub const POWER: f64 = 0.8;

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Compare also what is not comparable, and say so in the report.
    pub force: bool,
    /// At most this many items that flipped are shown, each way, for each benchmark.
    pub flips: usize,
    /// The bootstrap's randomness.
    pub seed: Seed,
    /// The bootstrap's draws.
    pub draws: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { force: false, flips: 20, seed: Seed(1), draws: 10_000 }
    }
}

/// What cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Results that differ in more than the model.
    #[error("not comparable:\n  {}", .0.join("\n  "))]
    NotComparable(Vec<String>),
    /// There is nothing to compare.
    #[error("{0}")]
    Nothing(String),
}

/// A base model and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The base model's name.
    pub base: String,
    /// SHA-256 of its weights.
    pub base_sha256: String,
    /// One for each model that is compared with it.
    pub comparisons: Vec<Comparison>,
    /// What a reader must know before trusting a figure: what differs though it should not, what is missing.
    pub warnings: Vec<String>,
    /// What differs and does no harm.
    pub notes: Vec<String>,
    /// RELIGN's version.
    pub relign: String,
}

/// A model against the base, over benchmarks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model's name.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_sha256: String,
    /// One row for each benchmark.
    pub rows: Vec<Row>,
    /// The mean difference over benchmarks, each counting once, with its 95 % interval; where there are several.
    pub overall: Option<Interval>,
}

/// A model against the base on one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The benchmark.
    pub benchmark: String,
    /// Its domain.
    pub domain: String,
    /// The figure that is compared.
    pub metric: String,
    /// Samples of each item.
    pub samples: u64,
    /// The base's figure, over the items that both could be judged on.
    pub base: Estimate,
    /// The tuned model's.
    pub tuned: Estimate,
    /// The tuned model's less the base's, item by item.
    pub difference: Difference,
    /// `p` corrected for the number of tests in the report (Holm).
    pub p_holm: f64,
    /// The same by Benjamini and Hochberg.
    pub p_bh: f64,
    /// `tuned / base - 1`, by cluster bootstrap.
    pub uplift: Interval,
    /// The smallest true difference that these items would have shown with a chance of 80 %; unknown where no item's
    /// figure changed, for then there is no spread to tell it by.
    pub detectable: Option<f64>,
    /// Items that would show the measured difference with a chance of 80 %.
    pub needed: Option<u64>,
    /// Items on which the tuned model's figure is higher.
    pub won: u64,
    /// Items on which it is lower.
    pub lost: u64,
    /// Items left out, because one of the two could not be judged or is missing.
    pub left_out: u64,
    /// The base's forgiving accuracy, where the benchmark has one.
    pub base_lenient: Option<Estimate>,
    /// The tuned model's.
    pub tuned_lenient: Option<Estimate>,
    /// What became of the base's samples.
    pub base_shares: Shares,
    /// What became of the tuned model's.
    pub tuned_shares: Shares,
    /// Where the scores come from: both results' data, template, grader, engine, seed, model and version.
    pub provenance: BTreeMap<String, [String; 2]>,
    /// Items that the tuned model does better on, the clearest first.
    pub gained: Vec<Flip>,
    /// Items that it does worse on.
    pub missed: Vec<Flip>,
}

impl Row {
    /// What the row shows, after Holm's correction.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.p_holm < 0.05, self.difference.difference > 0.0) {
            (false, _) => "not shown",
            (true, true) => "better",
            (true, false) => "worse",
        }
    }
}

/// Compares each of `tuned` with `base`, benchmark by benchmark.
///
/// # Errors
/// If nothing pairs up, or results differ in more than the model and `options` do not say to go on.
pub fn compare(base: &[Results], tuned: &[Vec<Results>], options: &Options) -> Result<Report, CompareError> {
    let before = by_benchmark(base)?;
    let first = base.first().ok_or_else(|| CompareError::Nothing("base: expected results, got none".to_owned()))?;
    let mut report = Report {
        base: first.header.model.clone(),
        base_sha256: first.header.model_sha256.clone(),
        comparisons: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        relign: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut refused = one_model("base", base);
    for results in tuned {
        let after = by_benchmark(results)?;
        let Some(any) = results.first() else {
            return Err(CompareError::Nothing("tuned: expected results, got none".to_owned()));
        };
        refused.extend(one_model("tuned", results));
        let mut rows = Vec::new();
        for (name, before) in &before {
            match after.get(name) {
                None => report.notes.push(format!("{name}: no results of {}; left out", any.header.model)),
                Some(after) => {
                    let found = comparable::differences(before, after);
                    refused.extend(found.grave);
                    report.notes.extend(found.harmless);
                    rows.extend(row(before, after, options));
                }
            }
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            report.notes.push(format!("{name}: no results of {}; left out", report.base));
        }
        if rows.is_empty() {
            let what =
                format!("{} and {}: expected items of a benchmark in common, got none", report.base, any.header.model);
            return Err(CompareError::Nothing(what));
        }
        let (model, model_sha256) = (any.header.model.clone(), any.header.model_sha256.clone());
        report.comparisons.push(Comparison { model, model_sha256, overall: overall(&rows), rows });
    }
    if !refused.is_empty() && !options.force {
        return Err(CompareError::NotComparable(refused));
    }
    report.warnings = refused;
    report.notes.sort();
    report.notes.dedup();
    correct(&mut report);
    Ok(report)
}

fn by_benchmark(results: &[Results]) -> Result<BTreeMap<&str, &Results>, CompareError> {
    let mut found: BTreeMap<&str, &Results> = BTreeMap::new();
    for result in results {
        if let Some(other) = found.insert(&result.header.benchmark.name, result) {
            return Err(CompareError::Nothing(format!(
                "{}: expected one result of {}, got another in {}; name one file",
                result.path.display(),
                result.header.benchmark.name,
                other.path.display()
            )));
        }
    }
    Ok(found)
}

fn one_model(side: &str, results: &[Results]) -> Vec<String> {
    let Some(first) = results.first() else { return Vec::new() };
    let others = results.iter().filter(|result| result.header.model_sha256 != first.header.model_sha256);
    let say = |other: &Results| {
        let (a, b) = (&first.header.model, &other.header.model);
        format!("{}: {side}: expected results of one model, got {a} and {b}", other.header.benchmark.name)
    };
    others.map(say).collect()
}

/// One benchmark; none if no item pairs up.
fn row(base: &Results, tuned: &Results, options: &Options) -> Option<Row> {
    let benchmark = &base.header.benchmark;
    let metric = benchmark.metric();
    let places: HashMap<&str, usize> =
        tuned.items.iter().enumerate().map(|(place, item)| (item.task.id.as_str(), place)).collect();
    let (ours, theirs) = (tallies(base, |s| Some(&s.score)), tallies(tuned, |s| Some(&s.score)));
    let mut pairs = Vec::new();
    for (place, item) in base.items.iter().enumerate() {
        // An id alone may name another question in another version of the data.
        let other = places.get(item.task.id.as_str()).copied();
        let other = other.filter(|&other| tuned.items[other].task.messages.last() == item.task.messages.last());
        let both = other.and_then(|other| Some((metric.item(&ours[place])?, metric.item(&theirs[other])?, other)));
        pairs.extend(both.map(|(before, after, other)| (place, other, before, after)));
    }
    if pairs.is_empty() {
        return None;
    }
    let every = base.clusters();
    let mut numbers = HashMap::new();
    let mut clusters = Vec::with_capacity(pairs.len());
    for (place, ..) in &pairs {
        let next = numbers.len();
        clusters.push(*numbers.entry(every[*place]).or_insert(next));
    }
    let (before, after): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(_, _, b, a)| (*b, *a)).unzip();
    let kept = |tallies: &[crate::benchmark::Tally], place: fn(&(usize, usize, f64, f64)) -> usize| {
        let kept: Vec<_> = pairs.iter().map(|pair| tallies[place(pair)].clone()).collect();
        metric.over(&kept, &clusters)
    };
    let change = difference(&before, &after, &clusters);
    let seed = options.seed.child(&benchmark.name);
    let (base_summary, tuned_summary) = (summary(base), summary(tuned));
    let count = |keep: fn(f64, f64) -> bool| pairs.iter().filter(|(_, _, b, a)| keep(*b, *a)).count() as u64;
    let (gained, missed) = flips::flips(base, tuned, &pairs, options.flips);
    Some(Row {
        benchmark: benchmark.name.clone(),
        domain: benchmark.domain.clone(),
        metric: metric.to_string(),
        samples: benchmark.samples,
        base: kept(&ours, |pair| pair.0)?,
        tuned: kept(&theirs, |pair| pair.1)?,
        difference: change,
        p_holm: change.p,
        p_bh: change.p,
        uplift: relative_uplift(&before, &after, &clusters, seed, options.draws),
        detectable: (change.error > 0.0).then(|| minimum_detectable(change.error, POWER)),
        needed: needed(change.difference, change.error, change.n, POWER),
        won: count(|b, a| a > b),
        lost: count(|b, a| a < b),
        left_out: (base.items.len() - pairs.len()) as u64,
        base_lenient: base_summary.lenient,
        tuned_lenient: tuned_summary.lenient,
        base_shares: base_summary.shares,
        tuned_shares: tuned_summary.shares,
        provenance: comparable::provenance(base, tuned),
        gained,
        missed,
    })
}

/// The mean over benchmarks, whose errors are independent.
fn overall(rows: &[Row]) -> Option<Interval> {
    if rows.len() < 2 {
        return None;
    }
    let count = rows.len() as f64;
    let value = rows.iter().map(|row| row.difference.difference).sum::<f64>() / count;
    let error = rows.iter().map(|row| row.difference.spread().powi(2)).sum::<f64>().sqrt() / count;
    Some(Interval { value, low: value - Z * error, high: value + Z * error })
}

/// Corrects every p for the number of tests in the report.
fn correct(report: &mut Report) {
    let p: Vec<f64> = report.comparisons.iter().flat_map(|c| &c.rows).map(|row| row.difference.p).collect();
    let adjusted = holm(&p).into_iter().zip(benjamini_hochberg(&p));
    for (row, (holm, bh)) in report.comparisons.iter_mut().flat_map(|c| &mut c.rows).zip(adjusted) {
        (row.p_holm, row.p_bh) = (holm, bh);
    }
}
