//! Steps whose code must run.

use relign_core::{Entry, Section, Strategy, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::mcts::from_zero;
use super::{StrategyFactory, at_least_one, check_scorer, together};
use crate::Start;
use crate::growth::{Aggregate, Search, Steps};
use crate::mcts::{Backup, FinalChoice, Mcts, Policy, Prior, Rule, Settings};
use crate::scorers::{named, scorer};

/// The search of rStar-Math (2501.04519): Monte Carlo tree search over steps that come with code, of which only those
/// stay whose code runs.
///
/// Every candidate step is handed to the checker that the command gives, together with all that was said before it; one
/// that does not work is left behind. A simulation takes the child with the highest `Q + c sqrt(ln N / n)` and goes on,
/// step by step, to an answer; what that is worth counts for every step on its path, `Q = q / n`. Left out is the second
/// model that gives `q` its beginning; values are the scorer's, from 0 to 1, where the paper has -1 and 1.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rstar {
    /// Simulations; at least 1.
    pub simulations: usize,
    /// Go on until the budget is spent instead of up to `simulations`.
    pub fill: bool,
    /// Simulations under way at once; at least 1.
    pub at_once: usize,
    /// Candidate steps of a node; at least 1.
    pub expand: usize,
    /// The weight of exploring, `c`.
    pub c: f64,
    /// How the answer is chosen.
    pub choice: FinalChoice,
    /// What values an answer; `relign explain scorer:NAME`.
    pub scorer: Section,
    /// Where steps end.
    pub steps: Steps,
}

impl Default for Rstar {
    fn default() -> Self {
        Self {
            simulations: 16,
            fill: false,
            at_once: 4,
            expand: 4,
            c: 2.0,
            choice: FinalChoice::Value,
            scorer: named("verifier"),
            steps: Steps::default(),
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn StrategyFactory> = Entry {
    name: "rstar",
    schema: schema_of::<Rstar>,
    build: |settings| {
        let own: Rstar = parse(settings)?;
        at_least_one("simulations", own.simulations)?;
        at_least_one("at_once", own.at_once)?;
        at_least_one("expand", own.expand)?;
        together(&[("simulations", own.simulations), ("expand", own.expand)])?;
        from_zero("c", own.c)?;
        check_scorer(&own.scorer)?;
        own.steps.check()?;
        Ok(Box::new(own))
    },
};

impl StrategyFactory for Rstar {
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String> {
        if start.checker.is_none() {
            return Err("rstar: expected a checker that runs the code of its steps, got none".to_owned());
        }
        let scorer = scorer(&self.scorer).map_err(|e| e.to_string())?;
        let rule = Rule { policy: Policy::Uct, c: self.c, backup: Backup::Mean, virtual_loss: 1.0 };
        let plan = Mcts::new(Settings {
            simulations: (!self.fill).then_some(self.simulations),
            at_once: self.at_once,
            expand: self.expand,
            widen: 0.0,
            rule,
            prior: Prior::Uniform,
            rollouts: 0,
            choice: self.choice,
            to_the_end: true,
            checked: true,
        });
        Search::boxed(start, scorer, Aggregate::Last, self.steps.clone(), plan)
    }

    fn needs_checker(&self) -> bool {
        true
    }

    fn samples(&self) -> usize {
        self.simulations * self.expand
    }
}
