//! The verifier itself.

use relign_core::{Entry, NodeId, Scorer, Tree, Valuation, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

/// The value of the task's own score: 1 where the answer is right.
///
/// It knows what nobody may know when an answer is wanted, so it is for making training data and for analysis: the most
/// that a perfect reward model could bring.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Verifier {}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> = Entry {
    name: "verifier",
    schema: schema_of::<Verifier>,
    build: |settings| Ok(Box::new(parse::<Verifier>(settings)?)),
};

impl Scorer for Verifier {
    fn value(&self, _: &Tree, _: NodeId) -> Valuation {
        Valuation::Verdict
    }
}
