//! The best of several answers.

use relign_core::{Entry, NodeId, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Many, StrategyFactory, at_least_one, check_scorer};
use crate::Start;
use crate::growth::{Aggregate, Event, Growth, Plan, Search, Steps, best};
use crate::scorers::{named, scorer};

/// `n` independent answers, of which the one that the scorer values most is chosen (2009.01325, 2110.14168).
///
/// `answer = argmax_i v(y_i)`, of equals the first. With the scorer `logprob` it takes the answer that the model finds
/// most likely, with `certainty` the one it is most certain of (2502.18581), with `reward_model` it is reranking by a reward
/// model, with `verifier` pass@n.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BestOfN {
    /// Answers to each task; at least 1.
    pub n: usize,
    /// Go on until the budget is spent, `n` at a time.
    pub fill: bool,
    /// What values an answer; `relign explain scorer:NAME`.
    pub scorer: Section,
}

impl Default for BestOfN {
    fn default() -> Self {
        Self { n: 16, fill: false, scorer: named("logprob") }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "best_of_n",
    schema: schema_of::<BestOfN>,
    build: |settings| {
        let own: BestOfN = parse(settings)?;
        at_least_one("n", own.n)?;
        check_scorer(&own.scorer)?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for BestOfN {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan =
            Reranking { many: Many::new(self.n, self.n, self.fill), choose: |growth, answers| best(growth, answers) };
        Search::boxed(start, scorer, Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }
}

/// Answers that are all valued, of which one is chosen.
pub(super) struct Reranking {
    pub(super) many: Many,
    pub(super) choose: fn(&Growth<'_>, Vec<NodeId>) -> Option<NodeId>,
}

impl Plan for Reranking {
    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        self.many.begin(growth)
    }

    fn hear(&mut self, growth: &mut Growth<'_>, event: Event) {
        self.many.again(growth, &event);
        if let Some(node) = event.grown() {
            growth.value(node);
        }
    }

    fn choose(&mut self, growth: &mut Growth<'_>) -> Option<NodeId> {
        (self.choose)(growth, growth.answers())
    }
}
