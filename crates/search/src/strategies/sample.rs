//! Independent samples.

use relign_core::{
    Author, Completion, ConfigError, Entry, Node, NodeId, Request, Sampling, Score, Seed, Strategy, Tree, parse,
    schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::StrategyFactory;

/// `n` independent samples of the prompt: a tree of depth one.
///
/// What group-relative algorithms (GRPO, 2402.03300) train on, and what pass@k and majority votes are
/// counted over. Sample `k` is node `k + 1` and draws from the task's seed number `k`, so the tree is
/// the same whatever order the engine finishes in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Samples of each task; at least 1.
    pub n: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self { n: 8 }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "sample",
    schema: schema_of::<Sample>,
    build: |settings| {
        let sample: Sample = parse(settings)?;
        if sample.n == 0 {
            return Err(ConfigError::at("n", "expected at least 1 sample, got 0"));
        }
        Ok(Box::new(sample))
    },
};

impl StrategyFactory for Sample {
    fn start(&self, tree: Tree, sampling: &Sampling, seed: Seed) -> Box<dyn Strategy> {
        let prompt = tree.nodes[0].tokens.clone();
        let requests = (0..self.n as u64)
            .map(|k| Request { id: k, prompt: prompt.clone(), sampling: sampling.clone(), seed: seed.index(k) })
            .collect();
        Box::new(Sampler { tree, requests, arrived: vec![None; self.n], unscored: Vec::new(), scored: 0 })
    }

    fn samples(&self) -> usize {
        self.n
    }
}

/// The samples of one task on their way.
struct Sampler {
    tree: Tree,
    /// Not yet asked for.
    requests: Vec<Request>,
    /// Completions waiting for those before them, by sample.
    arrived: Vec<Option<Completion>>,
    /// Nodes to be named by `unscored`.
    unscored: Vec<NodeId>,
    scored: usize,
}

impl Strategy for Sampler {
    fn ask(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    fn tell(&mut self, completion: Completion) {
        let slot = usize::try_from(completion.id).ok().and_then(|id| self.arrived.get_mut(id));
        if let Some(slot) = slot {
            *slot = Some(completion);
        }
        // Nodes stand in the order of their requests, so a completion waits for those before it.
        while let Some(completion) = self.arrived.get_mut(self.tree.nodes.len() - 1).and_then(Option::take) {
            let node = self.tree.push(Node {
                parent: Some(0),
                author: Author::Policy,
                tokens: completion.tokens,
                logprobs: completion.logprobs,
                text: completion.text,
                version: completion.version,
                finish: Some(completion.finish),
                score: None,
            });
            self.unscored.push(node);
        }
    }

    fn unscored(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.unscored)
    }

    fn scored(&mut self, node: NodeId, score: Score) {
        let slot = &mut self.tree.nodes[node].score;
        if slot.is_none() {
            self.scored += 1;
        }
        *slot = Some(score);
    }

    fn finished(&self) -> bool {
        self.scored == self.arrived.len()
    }

    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn into_tree(self: Box<Self>) -> Tree {
        self.tree
    }
}
