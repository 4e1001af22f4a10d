//! The scorers: one file each, one line each in [`SCORERS`].

use relign_core::{Author, ConfigError, Entry, Node, NodeId, Scorer, Section, Tree, find};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod certainty;
pub mod logprob;
pub mod model;
pub mod self_evaluation;
pub mod verifier;

pub use certainty::Certainty;
pub use logprob::Logprob;
pub use model::{ByReward, Model};
pub use self_evaluation::SelfEvaluation;
pub use verifier::Verifier;

/// All scorers.
pub const SCORERS: &[Entry<dyn Scorer>] =
    &[certainty::ENTRY, logprob::ENTRY, model::ENTRY, self_evaluation::ENTRY, verifier::ENTRY];

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
