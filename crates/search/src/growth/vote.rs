//! Votes over final answers.

use relign_core::{Answers, NodeId, Task};

/// Answers that mean the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cluster {
    /// The answer as it was first given.
    pub(crate) answer: String,
    /// The nodes that gave it.
    pub(crate) nodes: Vec<NodeId>,
    /// The sum of their weights.
    pub(crate) weight: f64,
}

/// Counts votes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vote {
    pub(crate) clusters: Vec<Cluster>,
}

impl Vote {
    /// Counts the answer in `text` for `weight`; without an answer it is an abstention.
    pub(crate) fn count(&mut self, answers: &dyn Answers, task: &Task, node: NodeId, text: &str, weight: f64) {
        let Some(answer) = answers.extract(task, text) else { return };
        // The first cluster that fits: equivalence need not be transitive to give one outcome.
        match self.clusters.iter_mut().find(|cluster| answers.same(task, &cluster.answer, &answer)) {
            Some(cluster) => {
                cluster.nodes.push(node);
                cluster.weight += weight;
            }
            None => self.clusters.push(Cluster { answer, nodes: vec![node], weight }),
        }
    }

    /// The heaviest cluster; of equals the one found first.
    pub(crate) fn winner(&self) -> Option<&Cluster> {
        self.clusters.iter().reduce(|best, next| if next.weight > best.weight { next } else { best })
    }

    /// The weights of the heaviest cluster and of the next; 0 where there is none.
    pub(crate) fn lead(&self) -> (f64, f64) {
        let mut weights: Vec<f64> = self.clusters.iter().map(|cluster| cluster.weight).collect();
        weights.sort_by(|a, b| b.total_cmp(a));
        (weights.first().copied().unwrap_or(0.0), weights.get(1).copied().unwrap_or(0.0))
    }
}
