//! Thoughts that the model itself judges.

use relign_core::{Entry, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::beam::{Choice, Rounds};
use super::{StrategyFactory, at_least_one, check_scorer, together};
use crate::Start;
use crate::growth::{Aggregate, Search, Steps};
use crate::scorers::{named, scorer};

/// Tree of thoughts, breadth first (2305.10601): every thought kept goes on in `k` ways, the model says of each how
/// promising it is, and the best `breadth` are kept.
///
/// Thoughts are steps, sampled independently; each is valued by the scorer, by default the model's own judgement in a
/// turn of its own. What that costs counts in the budget. Left out are the paper's other generator (one prompt that
/// proposes several thoughts), its vote across thoughts, and depth-first search.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TreeOfThoughts {
    /// Thoughts kept at each depth; at least 1.
    pub breadth: usize,
    /// Continuations of each; at least 1.
    pub k: usize,
    /// What values a beginning; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// What the values of an answer's thoughts amount to.
    pub aggregate: Aggregate,
    /// Where thoughts end.
    pub steps: Steps,
}

impl Default for TreeOfThoughts {
    fn default() -> Self {
        Self { breadth: 5, k: 3, scorer: named("self_evaluation"), aggregate: Aggregate::Last, steps: Steps::default() }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "tree_of_thoughts",
    schema: schema_of::<TreeOfThoughts>,
    build: |settings| {
        let own: TreeOfThoughts = parse(settings)?;
        at_least_one("breadth", own.breadth)?;
        at_least_one("k", own.k)?;
        together(&[("breadth", own.breadth), ("k", own.k), ("steps.most", own.steps.most)])?;
        check_scorer(&own.scorer)?;
        own.steps.check()?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for TreeOfThoughts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan = Rounds::new(1, self.breadth * self.k, self.breadth, self.k, Choice::Value);
        Search::boxed(start, scorer, self.aggregate, self.steps.clone(), plan)
    }

    fn samples(&self) -> usize {
        self.breadth * self.k
    }
}
