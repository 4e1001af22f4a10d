//! How far the model's distributions are from guessing.

use relign_core::{Entry, NodeId, Scorer, Tree, Valuation, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Span, mean};

/// Self-certainty (2502.18581): how far the distributions that an answer was drawn from are from the uniform one.
///
/// The mean over tokens of `KL(U || p_t) = -ln V - 1/V sum_j ln p_t(j)` in nats, `V` the size of the vocabulary: 0 for
/// guessing, and without an upper bound. It looks at whole distributions where `logprob` looks at the tokens drawn.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certainty {
    /// What is looked at: the whole `path`, or its last `step`.
    pub span: Span,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> = Entry {
    name: "certainty",
    schema: schema_of::<Certainty>,
    build: |settings| Ok(Box::new(parse::<Certainty>(settings)?)),
};

impl Scorer for Certainty {
    fn needs_certainty(&self) -> bool {
        true
    }

    fn value(&self, tree: &Tree, node: NodeId) -> Valuation {
        match mean(&self.span.of(tree, node), |node| &node.certainty) {
            Some(certainty) => Valuation::Known(certainty),
            None => Valuation::Unknown("the engine does not tell how certain the model is".to_owned()),
        }
    }
}
