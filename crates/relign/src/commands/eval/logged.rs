//! A tree's samples, as logs hold them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relign_bench::results::Sample;
use relign_core::{Score, Tree};
use relign_search::Judge;

use super::benchmark::Prepared;
use crate::judged::samples;

/// How long a judge may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The samples of a tree.
pub(super) fn logged(tree: &Tree, _what: &Prepared, mut lenient: Option<&mut Judge>) -> Vec<Sample> {
    let mut all = Vec::new();
    let leaves = tree.leaves().filter(|&leaf| tree.nodes[leaf].parent.is_some());
    for ((number, leaf), node) in leaves.enumerate().zip(samples(tree)) {
        let failed = || Score::failed("not judged");
        all.push(Sample {
            item: tree.task.id.clone(),
            sample: number as u64,
            text: node.text.clone(),
            score: node.score.clone().unwrap_or_else(failed),
            lenient: lenient.as_deref_mut().map(|judge| second(judge, tree, leaf)),
            answer: None,
            tokens: Some(node.tokens.len() as u64).filter(|&n| n > 0),
            finish: node.finish,
        });
    }
    all
}

/// The forgiving judgement of a sample, under the same limit of time.
fn second(judge: &mut Judge, tree: &Tree, leaf: usize) -> Score {
    let ticket = judge.submit(Arc::new(tree.task.clone()), tree.transcript(leaf));
    let started = Instant::now();
    while started.elapsed() < 2 * PATIENCE {
        let scores = judge.drain(Duration::from_millis(100));
        if let Some((_, score)) = scores.into_iter().find(|(own, _)| *own == ticket) {
            return score;
        }
    }
    Score::failed("not judged in time")
}
