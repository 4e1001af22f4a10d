//! How computation at inference time is spent, and how trees come to be.

use crate::{Completion, Request, Score, Task, Tree};

/// A way to spend tokens on one task: a pure state machine over one [`Tree`].
///
/// The driver asks for requests, runs them on an engine and tells the completions; a strategy holds
/// no clock, no engine and no randomness but its seed.
pub trait Strategy: Send {
    /// Requests to run now; empty while it waits for completions. Ids need only be unique within
    /// this strategy.
    fn ask(&mut self) -> Vec<Request>;

    /// A completion of one of its requests.
    fn tell(&mut self, completion: Completion);

    /// Nodes that need a score before the strategy can go on or end, each named once.
    fn unscored(&mut self) -> Vec<crate::NodeId>;

    /// The score of a node named by [`unscored`](Strategy::unscored).
    fn scored(&mut self, node: crate::NodeId, score: Score);

    /// Nodes whose value must come from outside the strategy before it can go on, and from whom; each named once.
    fn unvalued(&mut self) -> Vec<(crate::NodeId, crate::By)> {
        Vec::new()
    }

    /// The value of a node named by [`unvalued`](Strategy::unvalued), or why there is none.
    fn valued(&mut self, _node: crate::NodeId, _by: crate::By, _value: Result<f64, String>) {}

    /// Asks for nothing more: the strategy ends with what it has once its requests in flight came back. One that
    /// cannot end early keeps this default.
    fn stop(&mut self) {}

    /// Why it can never come to an end as it should, if so: its scorer needs what the engine does not tell.
    fn fault(&self) -> Option<String> {
        None
    }

    /// The node whose path is the answer, once [`finished`](Strategy::finished); `None` for one that chooses none.
    fn chosen(&self) -> Option<crate::NodeId> {
        None
    }

    /// Whether the tree is complete.
    fn finished(&self) -> bool;

    /// The tree, as far as it has grown.
    fn tree(&self) -> &Tree;

    /// Gives the tree away.
    fn into_tree(self: Box<Self>) -> Tree;
}

/// Makes scored trees from tasks: strategies on an engine with environments and rewards.
pub trait Rollouts {
    /// Runs `tasks` and hands each tree over once, in the order of `tasks`.
    ///
    /// # Errors
    /// If the engine broke. A failed sample or reward is data in its tree, not an error.
    fn run(&mut self, tasks: Vec<Task>, each: &mut dyn FnMut(Tree)) -> Result<(), RolloutError>;
}

/// Why rollouts stopped.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The engine refused or broke.
    #[error(transparent)]
    Generate(#[from] crate::GenerateError),
    /// A task could not be turned into a prompt.
    #[error("task {task}: {what}")]
    Task {
        /// The task's id.
        task: String,
        /// What is wrong.
        what: String,
    },
    /// The run was asked to stop.
    #[error("interrupted")]
    Interrupted,
}
