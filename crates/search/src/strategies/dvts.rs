//! Several beams of one, apart from one another.

use relign_core::{Entry, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::beam::{Choice, Rounds, check};
use super::{StrategyFactory, check_scorer};
use crate::Start;
use crate::growth::{Aggregate, Search, Steps};
use crate::scorers::{named, scorer};

/// Diverse verifier tree search: `n / width` subtrees, in each of which the best of `width` steps goes on.
///
/// A beam search's best candidates soon share their beginning; here each subtree keeps its own, which pays at large
/// budgets (Beeching, Tunstall and Rush 2024, after 2408.03314). Chosen is among all subtrees' answers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dvts {
    /// Candidates in each round, of all subtrees; a multiple of `width`.
    pub n: usize,
    /// Candidates of each subtree; at least 1.
    pub width: usize,
    /// What values a beginning; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// What the values of an answer's steps amount to.
    pub aggregate: Aggregate,
    /// How the answer is chosen.
    pub choice: Choice,
    /// Where steps end.
    pub steps: Steps,
}

impl Default for Dvts {
    fn default() -> Self {
        Self {
            n: 16,
            width: 4,
            scorer: named("logprob"),
            aggregate: Aggregate::Last,
            choice: Choice::Value,
            steps: Steps::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "dvts",
    schema: schema_of::<Dvts>,
    build: |settings| {
        let own: Dvts = parse(settings)?;
        check(own.n, own.width)?;
        check_scorer(&own.scorer)?;
        own.steps.check()?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for Dvts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let plan = Rounds::new(self.n / self.width, self.width, 1, self.width, self.choice);
        Search::boxed(start, scorer, self.aggregate, self.steps.clone(), plan)
    }

    fn samples(&self) -> usize {
        self.n
    }
}
