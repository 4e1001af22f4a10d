//! A tree's samples, as logs hold them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relign_bench::results::Sample;
use relign_core::{Finish, NodeId, Score, Tree};
use relign_search::Judge;

use crate::searches::{ByVerifier, classes};

/// How long a judge may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The samples of a tree: each of its answers, or `one`, the answer that its strategy chose, which then has the tokens of
/// the whole tree. In each stands the class of its answer, told by the first answer in it.
pub(super) fn logged(tree: &Tree, one: bool, answers: &ByVerifier, mut lenient: Option<&mut Judge>) -> Vec<Sample> {
    let twice = lenient.is_some();
    let mut again = |node: NodeId| lenient.as_deref_mut().map(|judge| second(judge, tree, node));
    let mut all: Vec<Sample> = if one {
        vec![chosen(tree, twice, &mut again)]
    } else {
        let leaves = tree.leaves().filter(|&leaf| tree.nodes[leaf].parent.is_some());
        leaves.map(|leaf| sample(tree, leaf, tree.nodes[leaf].tokens.len() as u64, &mut again)).collect()
    };
    let found: Vec<Option<String>> = all.iter_mut().map(|sample| sample.score.answer.take()).collect();
    for ((number, sample), class) in all.iter_mut().enumerate().zip(classes(answers, &tree.task, &found)) {
        (sample.sample, sample.answer) = (number as u64, class);
    }
    all
}

/// The answer that a strategy chose; `twice` says that answers are judged leniently, too.
fn chosen(tree: &Tree, twice: bool, again: &mut dyn FnMut(NodeId) -> Option<Score>) -> Sample {
    let tokens = tree.cost.map_or(0, |cost| cost.generated);
    if let Some(node) = tree.chosen {
        return sample(tree, node, tokens, again);
    }
    let lost = tree.nodes.iter().find(|node| node.finish == Some(Finish::Failed));
    let score = match lost {
        Some(node) => node.score.clone().unwrap_or_else(|| Score::failed("a request failed")),
        None => Score::unparsed("the strategy came to no answer"),
    };
    let lenient = twice.then(|| score.clone());
    let item = tree.task.id.clone();
    let tokens = Some(tokens).filter(|&n| n > 0);
    Sample {
        item,
        sample: 0,
        text: String::new(),
        score,
        lenient,
        answer: None,
        tokens,
        thought_tokens: None,
        finish: None,
    }
}

fn sample(tree: &Tree, node: NodeId, tokens: u64, again: &mut dyn FnMut(NodeId) -> Option<Score>) -> Sample {
    Sample {
        item: tree.task.id.clone(),
        sample: 0,
        text: tree.transcript(node).last().to_owned(),
        score: tree.nodes[node].score.clone().unwrap_or_else(|| Score::failed("not judged")),
        lenient: again(node).map(|score| Score { answer: None, ..score }),
        answer: None,
        tokens: Some(tokens).filter(|&n| n > 0),
        thought_tokens: tree.nodes[node].thought_tokens,
        finish: tree.nodes[node].finish,
    }
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
