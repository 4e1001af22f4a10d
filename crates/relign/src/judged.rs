//! What judged trees amount to.

use relign_core::{Estimate, Node, Tree, Verdict};

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
