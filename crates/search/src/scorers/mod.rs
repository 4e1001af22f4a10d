//! The scorers: one file each, one line each in [`SCORERS`].

use relign_core::{Author, ConfigError, Entry, Node, NodeId, Scorer, Section, Tree, find};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod certainty;
pub mod logprob;
pub mod outcome;
pub mod process;
pub mod reward_model;
pub mod self_evaluation;
pub mod verifier;

pub use certainty::Certainty;
pub use logprob::Logprob;
pub use outcome::Outcome;
pub use process::Process;
pub use reward_model::{ByReward, RewardModel};
pub use self_evaluation::SelfEvaluation;
pub use verifier::Verifier;

/// All scorers.
pub const SCORERS: &[Entry<dyn Scorer>] = &[
    certainty::ENTRY,
    logprob::ENTRY,
    outcome::ENTRY,
    process::ENTRY,
    reward_model::ENTRY,
    self_evaluation::ENTRY,
    verifier::ENTRY,
];

/// The scorer that a strategy's `scorer` section asks for.
///
/// # Errors
/// If there is no scorer of that name or a setting does not fit.
pub fn scorer(section: &Section) -> Result<Box<dyn Scorer>, ConfigError> {
    let entry = find("scorer", SCORERS, &section.name).map_err(|e| e.within("scorer"))?;
    (entry.build)(Value::Object(section.settings.clone())).map_err(|e| e.within("scorer"))
}

/// The section that names a scorer and leaves its settings as they are.
pub(crate) fn named(name: &str) -> Section {
    Section { name: name.to_owned(), settings: serde_json::Map::new() }
}

/// Sees to it that a reward model is named.
fn needs_model(model: &str) -> Result<(), ConfigError> {
    if model.is_empty() { Err(ConfigError::at("model", "expected a reward model, got none")) } else { Ok(()) }
}

/// What part of a path is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// All that the model said in its last turn on it.
    #[default]
    Path,
    /// Its last node.
    Step,
}

impl Span {
    /// The model's own nodes in the span that ends at `node`.
    fn of(self, tree: &Tree, node: NodeId) -> Vec<&Node> {
        let mut up: Vec<&Node> = std::iter::successors(Some(&tree.nodes[node]), |node| Some(&tree.nodes[node.parent?]))
            .take_while(|node| matches!(node.author, Author::Policy | Author::Search))
            .filter(|node| node.author == Author::Policy)
            .take(if self == Self::Step { 1 } else { usize::MAX })
            .collect();
        up.reverse();
        up
    }
}

/// The mean of a number that each token of the span has; `None` unless it is known for all.
fn mean(nodes: &[&Node], of: fn(&Node) -> &[f32]) -> Option<f64> {
    let tokens: usize = nodes.iter().map(|node| node.tokens.len()).sum();
    let numbers: usize = nodes.iter().map(|node| of(node).len()).sum();
    if tokens == 0 || tokens != numbers {
        return None;
    }
    let sum: f64 = nodes.iter().flat_map(|node| of(node)).map(|&number| f64::from(number)).sum();
    Some(sum / tokens as f64)
}

#[cfg(test)]
mod tests {
    use relign_core::{Task, Valuation};

    use super::*;

    /// A step of two tokens, a turn of the user's, and an answer in two steps.
    fn tree() -> (Tree, NodeId) {
        let mut tree = Tree::new(Task::default(), vec![1]);
        let mut said = |parent, author, logprobs: &[f32], certainty: &[f32]| {
            let (tokens, logprobs, certainty) = (vec![5; logprobs.len()], logprobs.to_vec(), certainty.to_vec());
            tree.push(Node { tokens, logprobs, certainty, ..Node::after(parent, author) })
        };
        let first = said(0, Author::Policy, &[-9.0, -9.0], &[9.0, 9.0]);
        let turn = said(first, Author::Environment, &[], &[]);
        let step = said(turn, Author::Policy, &[-1.0, -3.0], &[2.0, 4.0]);
        let last = said(step, Author::Policy, &[-0.5], &[6.0]);
        (tree, last)
    }

    fn value(name: &str, settings: Value) -> f64 {
        let Value::Object(settings) = settings else { panic!() };
        let (tree, node) = tree();
        match scorer(&Section { name: name.to_owned(), settings }).unwrap().value(&tree, node) {
            Valuation::Known(value) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_worked_out_by_hand() {
        for (name, settings, expected) in [
            ("logprob", serde_json::json!({}), (-4.5_f64 / 3.0).exp()),
            ("logprob", serde_json::json!({"mean": false}), -4.5),
            ("logprob", serde_json::json!({"span": "step"}), (-0.5_f64).exp()),
            ("certainty", serde_json::json!({}), 4.0),
            ("certainty", serde_json::json!({"span": "step"}), 6.0),
        ] {
            let got = value(name, settings.clone());
            assert!((got - expected).abs() < 1e-12, "{name} {settings}: {got}, expected {expected}");
        }
    }

    #[test]
    fn aggregates_worked_out_by_hand() {
        use crate::Aggregate::{Last, Mean, Min, Product};
        for (aggregate, expected) in [(Last, 0.5), (Min, 0.25), (Product, 0.125), (Mean, 1.75 / 3.0)] {
            assert_eq!(aggregate.of(&[1.0, 0.25, 0.5]), Some(expected));
            assert_eq!(aggregate.of(&[]), None);
        }
    }
}
