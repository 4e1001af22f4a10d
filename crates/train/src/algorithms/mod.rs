//! Algorithms: each writes credit on trees and states a loss. One file, one line in [`ALGORITHMS`].

mod grpo;

use relign_core::{Entry, NodeId, Tree};
use relign_model::Tensor;

use crate::TrainError;

pub use grpo::{Aggregate, Grpo, KlEstimator, Standardise};

/// All algorithms.
pub const ALGORITHMS: &[Entry<dyn Algorithm>] = &[grpo::ENTRY];

/// A way to learn from scored trees.
pub trait Algorithm: Send {
    /// What it must be given.
    fn needs(&self) -> Needs;

    /// The samples to learn from, with their advantages. Nodes whose score failed yield none.
    fn credit(&self, trees: &[Tree]) -> Vec<Sample>;

    /// The loss over some whole samples of a minibatch, as this part's share of the minibatch's sum:
    /// parts are added up, so means divide by the minibatch's totals in `batch`.
    ///
    /// # Errors
    /// If the backend refuses.
    fn loss(&self, out: &PolicyOutput, batch: &Batch) -> Result<Loss, TrainError>;
}

/// What an algorithm must be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Log-probabilities under the policy that training started from.
    pub reference: bool,
    /// The fewest samples a group must have.
    pub group: usize,
    /// Samples with an advantage of 0 still move the weights.
    pub flat_samples: bool,
}

/// A policy node to learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The tree's place in the step.
    pub tree: usize,
    /// The node.
    pub node: NodeId,
    /// How much better than expected it was; every token of the node has it.
    pub advantage: f32,
}

/// What the policy says of the tokens of a batch, `[n]` each, f32, tracked.
#[derive(Debug)]
pub struct PolicyOutput {
    /// Log-probabilities under the distribution that was sampled from.
    pub logp: Tensor,
    /// Entropies of those distributions.
    pub entropy: Tensor,
}

/// What else is known of the tokens of a batch; `[n]` each, f32 unless said otherwise.
#[derive(Debug)]
pub struct Batch {
    /// Log-probabilities before this step's first update.
    pub old_logp: Tensor,
    /// Log-probabilities under the reference, where the algorithm needs them.
    pub reference_logp: Option<Tensor>,
    /// Log-probabilities the engine sampled with.
    pub sampler_logp: Tensor,
    /// Advantages.
    pub advantage: Tensor,
    /// Tokens in the token's own sample.
    pub length: Tensor,
    /// Tokens of all samples of the minibatch.
    pub total_tokens: usize,
    /// Samples of the minibatch.
    pub total_samples: usize,
}

/// A loss and what to report of it.
#[derive(Debug)]
pub struct Loss {
    /// The loss, a tracked scalar.
    pub value: Tensor,
    /// Tokens whose ratio was clipped.
    pub clipped: f64,
    /// Sum over tokens of the divergence from the reference (k3).
    pub kl: f64,
}
