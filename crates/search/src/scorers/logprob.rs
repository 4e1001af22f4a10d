//! How likely the model finds what it said.

use relign_core::{Entry, NodeId, Scorer, Tree, Valuation, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Span, mean};

/// How likely the model found what it said, under the distribution that it was sampled from.
///
/// With `mean`, the geometric mean of the tokens' probabilities, `exp(1/T sum_t ln p_t)`: from 0 to 1, and long answers
/// are not at a disadvantage. Without, the log-probability of the whole, `sum_t ln p_t`: 0 or less.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logprob {
    /// Whether tokens are averaged over.
    pub mean: bool,
    /// What is looked at: the whole `path`, or its last `step`.
    pub span: Span,
}

impl Default for Logprob {
    fn default() -> Self {
        Self { mean: true, span: Span::Path }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> = Entry {
    name: "logprob",
    schema: schema_of::<Logprob>,
    build: |settings| Ok(Box::new(parse::<Logprob>(settings)?)),
};

impl Scorer for Logprob {
    fn value(&self, tree: &Tree, node: NodeId) -> Valuation {
        let nodes = self.span.of(tree, node);
        let Some(logprob) = mean(&nodes, |node| &node.logprobs) else {
            return Valuation::Unknown("the engine does not tell log-probabilities".to_owned());
        };
        let tokens: usize = nodes.iter().map(|node| node.tokens.len()).sum();
        Valuation::Known(if self.mean { logprob.exp() } else { logprob * tokens as f64 })
    }
}
