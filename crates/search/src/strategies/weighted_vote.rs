//! A vote in which better answers count more.

use relign_core::{Entry, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::best_of_n::Reranking;
use super::{Many, StrategyFactory, at_least_one, check_scorer};
use crate::Start;
use crate::growth::{Aggregate, Search, Steps, elected};
use crate::scorers::{named, scorer};

/// A vote over `n` answers, each with the weight of its value (2206.02336, 2408.03314).
///
/// `answer = argmax_a sum_i v(y_i) [y_i gives a]`, answers being equal where the task's verifier holds them for equal.
/// Chosen is the most valued answer of the heaviest cluster. Answers without a value, or with one below 0, have no vote.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedVote {
    /// Answers to each task; at least 1.
    pub n: usize,
    /// Go on until the budget is spent, `n` at a time.
    pub fill: bool,
    /// What values an answer; `relign explain scorer:NAME`.
    pub scorer: Section,
}

impl Default for WeightedVote {
    fn default() -> Self {
        Self { n: 16, fill: false, scorer: named("logprob") }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "weighted_vote",
    schema: schema_of::<WeightedVote>,
    build: |settings| {
        let own: WeightedVote = parse(settings)?;
        at_least_one("n", own.n)?;
        check_scorer(&own.scorer)?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for WeightedVote {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan = Reranking {
            many: Many::new(self.n, self.n, self.fill),
            choose: |growth, answers| elected(growth, &answers),
        };
        Search::boxed(start, scorer, Aggregate::Last, Steps::default(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }
}
