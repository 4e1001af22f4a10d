//! How promising an answer is, before or without a verdict.

use serde::{Deserialize, Serialize};

use crate::{NodeId, Task, Tree};

/// Puts a number on the path that ends at a node: how good an answer it is, or how good a beginning of one.
///
/// Strategies compare the numbers of one scorer with one another and with nothing else. Most scorers give numbers from
/// 0 to 1, where 1 is best; each one's manual says what it gives.
pub trait Scorer: Send + Sync {
    /// How the value of `node` is come by. Left as it is, the value comes from [`values`](Scorer::values).
    fn value(&self, _tree: &Tree, _node: NodeId) -> Valuation {
        Valuation::Outside
    }

    /// The value that the model's answers to a [`Question`] amount to.
    ///
    /// # Errors
    /// If they say nothing that can be read; the message says what was expected and got.
    fn read(&self, _answers: &[&str]) -> Result<f64, String> {
        Err("the scorer asks no questions".to_owned())
    }

    /// The values of many nodes at once, in their order: what reward models are asked.
    fn values(&self, nodes: &[Place<'_>]) -> Vec<Result<f64, String>> {
        nodes.iter().map(|_| Err("the scorer needs a reward model, and there is none".to_owned())).collect()
    }

    /// Whether it looks at how certain the model was, which an engine tells where it is asked to
    /// ([`Sampling::certainty`](crate::Sampling::certainty)).
    fn needs_certainty(&self) -> bool {
        false
    }

    /// Whether its values come from [`values`](Scorer::values) of a scorer that the driver was given.
    fn outside(&self) -> bool {
        false
    }
}

/// A node in its tree.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What was asked.
    pub task: &'a Task,
    /// The tree.
    pub tree: &'a Tree,
    /// The node whose path is to be valued.
    pub node: NodeId,
}

/// Who values a node from outside a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The reward model.
    Scorer,
    /// What tries a step out, such as a sandbox that runs its code: 1 where it works, 0 where it does not.
    Checker,
}

/// How the value of a node is come by.
#[derive(Clone, Debug, PartialEq)]
pub enum Valuation {
    /// It is known.
    Known(f64),
    /// It cannot be known, and why.
    Unknown(String),
    /// It is the value of the verifier's score.
    Verdict,
    /// The model is asked; [`Scorer::read`] makes a number of what it says.
    Ask(Question),
    /// The scorer that the driver was given values it, together with others.
    Outside,
}

/// A question to the model about its own path, in a turn of its own that the path does not go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the user asks.
    pub text: String,
    /// How many times the model is asked.
    pub times: usize,
    /// The longest an answer may be, in tokens.
    pub max_tokens: usize,
    /// The temperature of the answers.
    pub temperature: f32,
}

/// Finds final answers and says which of them mean the same.
pub trait Answers: Send + Sync {
    /// The final answer in `text`, all that was said in answer to `task`; `None` where there is none.
    fn extract(&self, task: &Task, text: &str) -> Option<String>;

    /// Whether two answers to `task` mean the same.
    fn same(&self, task: &Task, a: &str, b: &str) -> bool;
}
