//! Many models side by side: a static site from a folder of results.

mod site;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use relign_core::Estimate;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

pub use site::write;

use crate::results::summary::tallies;
use crate::results::{self, ResultError, Results, Shares, summary};
use crate::statistics::{Difference, Z, difference, holm};

/// All that was measured, by domain.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// The domains, by name.
    pub domains: Vec<Domain>,
    /// Results that were not taken, and why.
    pub refused: Vec<String>,
    /// RELIGN's version.
    pub relign: &'static str,
    #[serde(skip)]
    results: Vec<Results>,
}

/// A domain: its benchmarks, and the mean over them of the models that were measured on all.
#[derive(Clone, Debug, Serialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// The mean over its benchmarks, each counting once; where there are several.
    pub means: Vec<Mean>,
    /// Its benchmarks.
    pub boards: Vec<Table>,
}

/// A model's mean over a domain.
#[derive(Clone, Debug, Serialize)]
pub struct Mean {
    /// 1 and the number of models that are better beyond chance.
    pub rank: usize,
    /// The model's name.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_sha256: String,
    /// The mean with its 95 % interval; `n` counts benchmarks.
    pub figure: Estimate,
}

/// A benchmark: results that can be compared with each other.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Its name.
    pub benchmark: String,
    /// The hash of its definition.
    pub benchmark_hash: String,
    /// SHA-256 of its items.
    pub data_sha256: String,
    /// What judged.
    pub grader: String,
    /// The figure that models are ranked by.
    pub metric: String,
    /// What it measures.
    pub about: String,
    /// The models, the best first.
    pub rows: Vec<Row>,
}

/// A model on a benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// 1 and the number of models that are better beyond chance; those that cannot be told apart share one.
    pub rank: usize,
    /// The model's name.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_sha256: String,
    /// The figure.
    pub figure: Estimate,
    /// What became of the samples.
    pub shares: Shares,
    /// Forgiving accuracy, where the benchmark has one.
    pub lenient: Option<Estimate>,
    /// The engine and its settings.
    pub engine: BTreeMap<String, String>,
    /// SHA-256 of the chat template.
    pub template_sha256: String,
    /// The seed.
    pub seed: u64,
    /// The page with its items.
    pub page: String,
    #[serde(skip)]
    place: usize,
}

/// The board of all results in `folder` and below. What is tampered with, incomplete or stands there twice is refused
/// by name and left out.
///
/// # Errors
/// If the folder cannot be read.
pub fn board(folder: &Path) -> Result<Board, ResultError> {
    let (mut taken, mut refused): (Vec<Results>, Vec<String>) = (Vec::new(), Vec::new());
    for path in results::find(folder)? {
        match results::read(&path) {
            Ok(result) if !result.complete => refused.push(format!("{}: refused: it is not complete", path.display())),
            Ok(result) => match taken.iter().find(|other| other.header.key() == result.header.key()) {
                Some(other) => {
                    refused.push(format!(
                        "{}: refused: the same measurement as {}",
                        path.display(),
                        other.path.display()
                    ));
                }
                None => taken.push(result),
            },
            Err(error) => refused.push(error.to_string()),
        }
    }
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, result) in taken.iter().enumerate() {
        let header = &result.header;
        let benchmark = &header.benchmark;
        let key = (&benchmark.domain, &benchmark.name, &header.benchmark_hash, &header.data_sha256, &header.grader);
        groups.entry(key).or_default().push(place);
    }
    let mut domains: Vec<Domain> = Vec::new();
    for ((name, ..), places) in groups {
        if domains.last().is_none_or(|domain| domain.name != *name) {
            domains.push(Domain { name: name.clone(), means: Vec::new(), boards: Vec::new() });
        }
        if let (Some(domain), Some(table)) = (domains.last_mut(), table(&taken, &places)) {
            domain.boards.push(table);
        }
    }
    for domain in &mut domains {
        domain.means = means(&domain.boards, &taken);
    }
    Ok(Board { domains, refused, relign: env!("CARGO_PKG_VERSION"), results: taken })
}

fn table(all: &[Results], places: &[usize]) -> Option<Table> {
    let first = &all[*places.first()?].header;
    let metric = first.benchmark.metric();
    let mut rows: Vec<Row> = places.iter().filter_map(|&place| row(&all[place], place)).collect();
    rows.sort_by(|a, b| b.figure.accuracy.total_cmp(&a.figure.accuracy).then_with(|| a.model.cmp(&b.model)));
    let figures: Vec<Vec<Option<f64>>> = rows.iter().map(|row| figures(&all[row.place])).collect();
    let clusters = all[places[0]].clusters();
    let ranks = ranks(rows.len(), |i, j| {
        let change = paired(&figures[i], &figures[j], &clusters);
        (change.difference, change.p)
    });
    rows.iter_mut().zip(ranks).for_each(|(row, rank)| row.rank = rank);
    Some(Table {
        benchmark: first.benchmark.name.clone(),
        benchmark_hash: first.benchmark_hash.clone(),
        data_sha256: first.data_sha256.clone(),
        grader: first.grader.clone(),
        metric: metric.to_string(),
        about: first.benchmark.about.clone(),
        rows,
    })
}

fn row(result: &Results, place: usize) -> Option<Row> {
    let header = &result.header;
    let metric = header.benchmark.metric();
    let figure = metric.over(&tallies(result, |sample| Some(&sample.score)), &result.clusters())?;
    let all = summary(result);
    Some(Row {
        rank: 0,
        model: header.model.clone(),
        model_sha256: header.model_sha256.clone(),
        figure,
        shares: all.shares,
        lenient: all.lenient,
        engine: header.engine.clone(),
        template_sha256: header.template_sha256.clone(),
        seed: header.seed,
        page: format!("items/{}.html", &header.key()[..16]),
        place,
    })
}

/// The benchmark's figure of each item.
fn figures(result: &Results) -> Vec<Option<f64>> {
    let metric = result.header.benchmark.metric();
    tallies(result, |sample| Some(&sample.score)).iter().map(|tally| metric.item(tally)).collect()
}

/// The second less the first, over the items that both could be judged on.
fn paired(a: &[Option<f64>], b: &[Option<f64>], clusters: &[usize]) -> Difference {
    let both = a.iter().zip(b).zip(clusters).filter_map(|((a, b), cluster)| Some(((*a)?, (*b)?, *cluster)));
    let (mut before, mut after, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let mut numbers = HashMap::new();
    for (a, b, cluster) in both {
        let next = numbers.len();
        before.push(a);
        after.push(b);
        kept.push(*numbers.entry(cluster).or_insert(next));
    }
    difference(&before, &after, &kept)
}

/// Ranks of `n` models: 1 and the number of others that are better beyond chance, at 5 % over all pairs (Holm).
/// `compare(i, j)` is by how much `j` is better than `i`, and the p-value of that.
fn ranks(n: usize, compare: impl Fn(usize, usize) -> (f64, f64)) -> Vec<usize> {
    let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
    let found: Vec<(f64, f64)> = pairs.iter().map(|&(i, j)| compare(i, j)).collect();
    let adjusted = holm(&found.iter().map(|(_, p)| *p).collect::<Vec<_>>());
    let mut ranks = vec![1; n];
    for ((&(i, j), (gain, _)), p) in pairs.iter().zip(&found).zip(adjusted) {
        if p < 0.05 {
            ranks[if *gain > 0.0 { i } else { j }] += 1;
        }
    }
    ranks
}

/// The means over a domain's benchmarks of the models that stand once in each.
fn means(boards: &[Table], all: &[Results]) -> Vec<Mean> {
    if boards.len() < 2 {
        return Vec::new();
    }
    let mut models: Vec<(&Row, Vec<&Row>)> = Vec::new();
    for first in &boards[0].rows {
        let own = |board: &'_ Table| -> Vec<usize> {
            let same = |row: &Row| row.model_sha256 == first.model_sha256;
            (0..board.rows.len()).filter(|&place| same(&board.rows[place])).collect()
        };
        let rows: Vec<&Row> = boards
            .iter()
            .filter_map(|board| <[usize; 1]>::try_from(own(board)).ok().map(|[place]| &board.rows[place]))
            .collect();
        if rows.len() == boards.len() {
            models.push((first, rows));
        }
    }
    let count = boards.len() as f64;
    let mean = |rows: &[&Row]| {
        let value = rows.iter().map(|row| row.figure.accuracy).sum::<f64>() / count;
        let errors = rows.iter().map(|row| ((row.figure.high - row.figure.low) / 2.0 / Z).powi(2)).sum::<f64>();
        let half = Z * errors.sqrt() / count;
        Estimate {
            accuracy: value,
            low: (value - half).max(0.0),
            high: (value + half).min(1.0),
            n: boards.len() as u64,
        }
    };
    models.sort_by(|a, b| mean(&b.1).accuracy.total_cmp(&mean(&a.1).accuracy));
    let ranks = ranks(models.len(), |i, j| {
        let changes = models[i].1.iter().zip(&models[j].1).map(|(a, b)| {
            let (a, b) = (&all[a.place], &all[b.place]);
            paired(&figures(a), &figures(b), &a.clusters())
        });
        let (gain, variance) = changes.fold((0.0, 0.0), |(gain, variance), change| {
            (gain + change.difference, variance + change.spread().powi(2))
        });
        let p = if variance > 0.0 { 2.0 * Normal::standard().cdf(-(gain / variance.sqrt()).abs()) } else { 1.0 };
        (gain, p)
    });
    let of = |((first, rows), rank): (&(&Row, Vec<&Row>), usize)| Mean {
        rank,
        model: first.model.clone(),
        model_sha256: first.model_sha256.clone(),
        figure: mean(rows),
    };
    models.iter().zip(ranks).map(of).collect()
}
