//! What a log amounts to.

use std::collections::BTreeMap;

use relign_core::{Estimate, Finish, Score, Verdict};
use serde::{Deserialize, Serialize};

use super::{Results, Sample};
use crate::benchmark::{Metric, Tally};
use crate::statistics::moments;

/// What a log amounts to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The benchmark's figures, by name, those that could be computed.
    pub metrics: BTreeMap<String, Estimate>,
    /// Accuracy as the benchmark judges.
    pub strict: Option<Estimate>,
    /// Accuracy by the forgiving judgement, where there is one: its distance from `strict` is form alone.
    pub lenient: Option<Estimate>,
    /// What became of the samples.
    pub shares: Shares,
}

/// What became of the samples. The four verdicts add up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Samples in all.
    pub samples: u64,
    /// The share that is right.
    pub correct: f64,
    /// The share with an answer that is wrong.
    pub wrong: f64,
    /// The share without an answer that could be read: a failure of form, apart from wrong answers.
    pub unparsed: f64,
    /// The share that no judge could judge; left out of every figure.
    pub failed: f64,
    /// The share that the token limit cut off.
    pub truncated: f64,
    /// Samples that tell how many tokens they have; servers may keep that to themselves.
    #[serde(default)]
    pub counted: u64,
    /// Mean length in tokens of those samples.
    pub length: f64,
    /// How much of it is thought, in tokens; the rest is answer.
    #[serde(default)]
    pub thought_length: f64,
    /// The standard deviation of the length.
    pub length_std: f64,
    /// Tokens of those samples.
    pub tokens: u64,
    /// Seconds of the work that ended by itself.
    pub seconds: f64,
    /// What servers charged.
    pub cost: f64,
}

/// What `results` amount to; items that lack all samples are left out.
#[must_use]
pub fn summary(results: &Results) -> Summary {
    let clusters = results.clusters();
    let tallies = tallies(results, |sample| Some(&sample.score));
    let metrics = results.header.benchmark.metrics.iter();
    let metrics = metrics.filter_map(|metric| Some((metric.to_string(), metric.over(&tallies, &clusters)?))).collect();
    let forgiving = self::tallies(results, |sample| sample.lenient.as_ref());
    Summary {
        metrics,
        strict: Metric::Accuracy.over(&tallies, &clusters),
        lenient: Metric::Accuracy.over(&forgiving, &clusters),
        shares: shares(results),
    }
}

/// The verdicts and answers of each item, as `judgement` has them.
pub(crate) fn tallies<'a>(results: &'a Results, judgement: impl Fn(&'a Sample) -> Option<&'a Score>) -> Vec<Tally> {
    let of = |samples: &'a Vec<Option<Sample>>| {
        let judged =
            samples.iter().flatten().filter_map(|sample| Some((judgement(sample)?.verdict, sample.answer.clone())));
        judged.collect()
    };
    results.samples.iter().map(of).collect()
}

impl Shares {
    /// The mean length in words: a number of tokens, or that nobody told it.
    #[must_use]
    pub fn length_in_words(&self) -> String {
        match self.counted {
            0 => "tokens not told".to_owned(),
            _ if self.thought_length > 0.0 => {
                format!("{:.0} tokens on average, {:.0} of them thought", self.length, self.thought_length)
            }
            _ => format!("{:.0} tokens on average", self.length),
        }
    }
}

fn shares(results: &Results) -> Shares {
    let all: Vec<&Sample> = results.samples.iter().flatten().flatten().collect();
    let share = |keep: &dyn Fn(&Sample) -> bool| {
        all.iter().filter(|sample| keep(sample)).count() as f64 / all.len().max(1) as f64
    };
    let verdict = |wanted: Verdict| share(&|sample| sample.score.verdict == wanted);
    let lengths: Vec<f64> = all.iter().filter_map(|sample| sample.tokens).map(|tokens| tokens as f64).collect();
    let thoughts: u64 =
        all.iter().filter(|sample| sample.tokens.is_some()).filter_map(|sample| sample.thought_tokens).sum();
    let length = moments(&lengths);
    Shares {
        samples: all.len() as u64,
        correct: verdict(Verdict::Correct),
        wrong: verdict(Verdict::Wrong),
        unparsed: verdict(Verdict::Unparsed),
        failed: verdict(Verdict::Failed),
        truncated: share(&|sample| sample.finish == Some(Finish::Length)),
        counted: lengths.len() as u64,
        length: length.mean,
        thought_length: thoughts as f64 / lengths.len().max(1) as f64,
        length_std: length.std,
        tokens: lengths.iter().sum::<f64>() as u64,
        seconds: results.spent.seconds,
        cost: results.spent.cost,
    }
}
