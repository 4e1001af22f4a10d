//! What judged trees amount to.

use relign_core::{Estimate, Node, Spent, Tree, Verdict};

/// The samples of a tree.
pub(crate) fn samples(tree: &Tree) -> impl Iterator<Item = &Node> {
    tree.leaves().map(|leaf| &tree.nodes[leaf]).filter(|node| node.parent.is_some())
}

/// The verdict on a sample; one without a score could not be judged.
pub(crate) fn verdict(node: &Node) -> Verdict {
    node.score.as_ref().map_or(Verdict::Failed, |score| score.verdict)
}

/// Whether each sample of a tree is correct; what no judge could judge is left out.
fn marks(tree: &Tree) -> Vec<bool> {
    samples(tree).map(verdict).filter(|v| *v != Verdict::Failed).map(|v| v == Verdict::Correct).collect()
}

/// The share of correct samples: Wilson's interval for one judged sample an item, clustered by item
/// for several. What no judge could judge is left out.
pub(crate) fn accuracy(trees: &[Tree]) -> Estimate {
    let items: Vec<Vec<bool>> = trees.iter().map(marks).filter(|item| !item.is_empty()).collect();
    let right = |item: &[bool]| item.iter().filter(|&&correct| correct).count();
    if items.iter().all(|item| item.len() == 1) {
        return relign_bench::wilson(items.iter().map(|item| right(item) as u64).sum(), items.len() as u64);
    }
    let means: Vec<f64> = items.iter().map(|item| right(item) as f64 / item.len() as f64).collect();
    relign_bench::clustered(&means)
}

/// Whether each item was right before and after, of those with one judged sample in both.
pub(crate) fn pairs(before: &[Tree], after: &[Tree]) -> (Vec<bool>, Vec<bool>) {
    let one = |tree: &Tree| <[bool; 1]>::try_from(marks(tree)).ok().map(|[mark]| mark);
    before.iter().zip(after).filter_map(|(b, a)| Some((one(b)?, one(a)?))).unzip()
}

/// What judging asked of servers, in a line.
pub(crate) fn spent(spent: &Spent) -> String {
    let Spent { requests, cached, retries, failed, prompt_tokens, completion_tokens, uncounted, usd } = spent;
    let mut parts = vec![format!("{requests} requests")];
    for (n, what) in [(cached, "known already"), (retries, "further tries"), (failed, "failed")] {
        if *n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    parts.push(format!("{prompt_tokens} tokens read, {completion_tokens} written"));
    if *uncounted > 0 {
        parts.push(format!("those of {uncounted} answers not counted"));
    }
    if *usd > 0.0 {
        parts.push(format!("{usd:.2} US dollars"));
    }
    parts.join(", ")
}
