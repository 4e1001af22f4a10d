//! Monte Carlo tree search over steps.

use relign_core::{ConfigError, Entry, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StrategyFactory, at_least_one, check_scorer, together};
use crate::Start;
use crate::growth::{Aggregate, Search, Steps};
use crate::mcts::{Backup, FinalChoice, Mcts as Plan, Policy, Prior, Rule, Settings};
use crate::scorers::{named, scorer};

/// Monte Carlo tree search (UCT: Kocsis and Szepesvari 2006; PUCT: 1712.01815) over steps of reasoning.
///
/// A simulation goes down from the root, at each node to the child with the highest
/// `Q + c sqrt(ln N / n)` (`uct`) or `Q + c P sqrt(N) / (1 + n)` (`puct`), `N` and `n` the visits of the node and of the
/// child. A node that it meets for the first time is valued; one met again is expanded into `expand` sampled steps, equal
/// ones being one child, the first of which is valued. The value counts for every node of the path: `Q` is the mean of
/// what was found at and below a node, or the best of it.
///
/// The value of a beginning is the scorer's, or the mean over `rollouts` continuations to the end of theirs. Simulations
/// under way count as `virtual_loss` visits without value each, so that many can be. What cannot be valued is closed and
/// leaves no trace in `Q`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mcts {
    /// Simulations; at least 1.
    pub simulations: usize,
    /// Go on until the budget is spent instead of up to `simulations`.
    pub fill: bool,
    /// Simulations under way at once; at least 1.
    pub at_once: usize,
    /// Candidate steps of a node that is expanded; at least 1.
    pub expand: usize,
    /// Progressive widening: a node with `n` visits may have `expand * n^widen` candidates. 0 for never more.
    pub widen: f64,
    /// How children are weighed up.
    pub policy: Policy,
    /// The weight of exploring, `c`.
    pub c: f64,
    /// What makes a child probable before it is looked at, for `puct`.
    pub prior: Prior,
    /// Continuations to the end whose mean value stands for a beginning's; 0 values the beginning itself.
    pub rollouts: usize,
    /// What the values found below a node make of it.
    pub backup: Backup,
    /// Visits without value that a simulation under way counts for.
    pub virtual_loss: f64,
    /// How the answer is chosen.
    pub choice: FinalChoice,
    /// What values an answer or a beginning; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// What the values of an answer's steps amount to.
    pub aggregate: Aggregate,
    /// Where steps end.
    pub steps: Steps,
}

impl Default for Mcts {
    fn default() -> Self {
        Self {
            simulations: 64,
            fill: false,
            at_once: 8,
            expand: 4,
            widen: 0.0,
            policy: Policy::Uct,
            c: 1.0,
            prior: Prior::Uniform,
            rollouts: 1,
            backup: Backup::Mean,
            virtual_loss: 1.0,
            choice: FinalChoice::Value,
            scorer: named("logprob"),
            aggregate: Aggregate::Last,
            steps: Steps::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "mcts",
    schema: schema_of::<Mcts>,
    build: |settings| {
        let own: Mcts = parse(settings)?;
        at_least_one("simulations", own.simulations)?;
        at_least_one("at_once", own.at_once)?;
        at_least_one("expand", own.expand)?;
        together(&[("simulations", own.simulations), ("expand", own.expand)])?;
        together(&[("simulations", own.simulations), ("rollouts", own.rollouts)])?;
        from_zero("c", own.c)?;
        from_zero("widen", own.widen)?;
        from_zero("virtual_loss", own.virtual_loss)?;
        check_scorer(&own.scorer)?;
        own.steps.check()?;
        Ok(Box::new(own))
    },
};

/// Sees to it that a number is finite and not negative.
pub(super) fn from_zero(name: &str, number: f64) -> Result<(), ConfigError> {
    let fits = number.is_finite() && number >= 0.0;
    if fits { Ok(()) } else { Err(ConfigError::at(name, format!("expected 0 or more, got {number}"))) }
}

impl StrategyFactory for Mcts {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let Self { policy, c, backup, virtual_loss, .. } = *self;
        let plan = Plan::new(Settings {
            simulations: (!self.fill).then_some(self.simulations),
            at_once: self.at_once,
            expand: self.expand,
            widen: self.widen,
            rule: Rule { policy, c, backup, virtual_loss },
            prior: self.prior,
            rollouts: self.rollouts,
            choice: self.choice,
            to_the_end: false,
            checked: false,
        });
        Search::boxed(start, scorer, self.aggregate, self.steps.clone(), plan)
    }

    fn samples(&self) -> usize {
        self.simulations
    }
}
