//! Packing trees for the forward pass: a shared prefix is there once for all its branches.

use relign_core::Tree;
use relign_model::Segment;

use crate::Sample;

/// Some samples of a minibatch, laid out to be forwarded at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// Input tokens, segment after segment.
    pub tokens: Vec<i64>,
    /// The nodes among them.
    pub segments: Vec<Segment>,
    /// For each trained token, the input token whose output predicts it.
    pub rows: Vec<i64>,
    /// The trained tokens.
    pub targets: Vec<u32>,
    /// The engine's log-probability of each.
    pub sampler_logp: Vec<f32>,
    /// Whole samples: the trained tokens they are, and their advantage.
    pub samples: Vec<(std::ops::Range<usize>, f32)>,
}

/// Packs `samples`, which name nodes of `trees`, into parts of at most `budget` input tokens; a
/// single sample that is longer gets a part of its own. Samples of one tree stay together while
/// they fit, so that their common ancestors are forwarded once.
#[must_use]
pub fn pack(trees: &[Tree], samples: &[Sample], budget: usize) -> Vec<Packed> {
    let mut parts = vec![Packed::default()];
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut current = None;
    for sample in samples {
        let tree = &trees[sample.tree];
        if current != Some(sample.tree) {
            places = vec![None; tree.nodes.len()];
            current = Some(sample.tree);
        }
        let path = tree.path(sample.node);
        let new: usize = path.iter().filter(|&&n| places[n].is_none()).map(|&n| tree.nodes[n].tokens.len()).sum();
        let part = &parts[parts.len() - 1];
        if !part.samples.is_empty() && part.tokens.len() + new > budget {
            parts.push(Packed::default());
            places = vec![None; tree.nodes.len()];
        }
        let last = parts.len() - 1;
        parts[last].add(tree, &path, &mut places, sample.advantage);
    }
    parts.retain(|part| !part.samples.is_empty());
    parts
}

impl Packed {
    fn add(&mut self, tree: &Tree, path: &[usize], places: &mut [Option<usize>], advantage: f32) {
        let leaf = path[path.len() - 1];
        let mut parent = None;
        for &node in path {
            let place = *places[node].get_or_insert_with(|| {
                let tokens = &tree.nodes[node].tokens;
                // What follows a leaf's last token is never asked for, so it need not be an input.
                let is_leaf = !tree.nodes.iter().any(|n| n.parent == Some(node));
                let len = if is_leaf { tokens.len() - 1 } else { tokens.len() };
                self.segments.push(Segment { start: self.tokens.len(), len, parent });
                self.tokens.extend(tokens[..len].iter().map(|&t| i64::from(t)));
                self.segments.len() - 1
            });
            if node != leaf {
                parent = Some(place);
            }
        }
        let place = places[leaf].expect("just packed");
        let node = &tree.nodes[leaf];
        let first = self.targets.len();
        let own = self.segments[place].start as i64;
        let mut before = self.segments[place].parent;
        while let Some(p) = before {
            if self.segments[p].len > 0 {
                break;
            }
            before = self.segments[p].parent;
        }
        let last_of_parent = before.map(|p| (self.segments[p].start + self.segments[p].len) as i64 - 1);
        for (i, &token) in node.tokens.iter().enumerate() {
            let row = if i == 0 { last_of_parent.expect("a prompt precedes every sample") } else { own + i as i64 - 1 };
            self.rows.push(row);
            self.targets.push(token);
        }
        self.sampler_logp.extend_from_slice(&node.logprobs);
        self.samples.push((first..self.targets.len(), advantage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{Author, Node, Task};

    fn node(parent: usize, tokens: &[u32]) -> Node {
        let logprobs = vec![-1.0; tokens.len()];
        Node { tokens: tokens.to_vec(), logprobs, ..Node::after(parent, Author::Policy) }
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(Task::default(), vec![1, 2, 3]);
        tree.push(node(0, &[10, 11, 12]));
        tree.push(node(0, &[20]));
        let step = tree.push(node(0, &[30, 31]));
        tree.push(node(step, &[40, 41]));
        tree
    }

    fn samples() -> Vec<Sample> {
        [1, 2, 3, 4].map(|node| Sample { tree: 0, node, advantage: node as f32 }).to_vec()
    }

    #[test]
    fn a_prompt_is_packed_once_and_every_token_is_predicted_by_its_predecessor() {
        let parts = pack(&[tree()], &samples(), 100);
        assert_eq!(parts.len(), 1);
        let part = &parts[0];
        assert_eq!(part.tokens, [1, 2, 3, 10, 11, 30, 31, 40]);
        assert_eq!(part.targets, [10, 11, 12, 20, 30, 31, 40, 41]);
        let before: Vec<i64> = part.rows.iter().map(|&r| part.tokens[r as usize]).collect();
        assert_eq!(before, [3, 10, 11, 3, 3, 30, 31, 40]);
        assert_eq!(part.samples.iter().map(|s| s.0.len()).sum::<usize>(), 8);
    }

    #[test]
    fn a_tight_budget_splits_groups_and_repeats_the_prompt() {
        let parts = pack(&[tree()], &samples(), 6);
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|p| p.tokens[..3] == [1, 2, 3]));
        let targets: Vec<u32> = parts.iter().flat_map(|p| p.targets.clone()).collect();
        assert_eq!(targets, [10, 11, 12, 20, 30, 31, 40, 41]);
    }
}
