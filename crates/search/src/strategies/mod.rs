//! The strategies: one file each, one line each in [`STRATEGIES`].

use relign_core::{ConfigError, Entry, Section, Strategy, bounds, find};
use serde_json::Value;

use crate::growth::{Event, Growth};
use crate::{Start, scorers};

pub mod ab_mcts;
pub mod beam;
pub mod best_of_n;
pub mod budget_forcing;
pub mod dvts;
pub mod mcts;
pub mod rest_mcts;
pub mod rstar;
pub mod sample;
pub mod self_consistency;
pub mod self_refine;
pub mod tree_of_thoughts;
pub mod weighted_vote;

pub use ab_mcts::{AbMcts, Posterior};
pub use beam::{Beam, Choice};
pub use best_of_n::BestOfN;
pub use budget_forcing::BudgetForcing;
pub use dvts::Dvts;
pub use mcts::Mcts;
pub use rest_mcts::RestMcts;
pub use rstar::Rstar;
pub use sample::Sample;
pub use self_consistency::SelfConsistency;
pub use self_refine::SelfRefine;
pub use tree_of_thoughts::TreeOfThoughts;
pub use weighted_vote::WeightedVote;

/// All strategies.
pub const STRATEGIES: &[Entry<dyn StrategyFactory>] = &[
    ab_mcts::ENTRY,
    beam::ENTRY,
    best_of_n::ENTRY,
    budget_forcing::ENTRY,
    dvts::ENTRY,
    mcts::ENTRY,
    rest_mcts::ENTRY,
    rstar::ENTRY,
    sample::ENTRY,
    self_consistency::ENTRY,
    self_refine::ENTRY,
    tree_of_thoughts::ENTRY,
    weighted_vote::ENTRY,
];

/// A strategy with its settings, ready to start on any number of tasks.
pub trait StrategyFactory: Send + Sync {
    /// Starts on one task.
    ///
    /// # Errors
    /// If it could never work as it is given: no budget to go up to, no reward model, no chat template.
    fn start<'a>(&self, start: Start<'a>) -> Result<Box<dyn Strategy + 'a>, String>;

    /// How many completions a task is expected to take, for showing progress and planning memory.
    fn samples(&self) -> usize;

    /// Whether all that grows are independent samples of the prompt, of which none is chosen for its value: what
    /// algorithms assume that compare a group.
    fn independent(&self) -> bool {
        false
    }

    /// Whether it can only start with a [`checker`](Start::checker).
    fn needs_checker(&self) -> bool {
        false
    }

    /// Whether it never asks for the same thing twice, so that there is something in it at temperature 0, too.
    fn linear(&self) -> bool {
        self.samples() == 1
    }
}

/// The strategy that a recipe's `strategy` section asks for.
///
/// # Errors
/// If there is no strategy of that name or a setting does not fit.
pub fn strategy(section: &Section) -> Result<Box<dyn StrategyFactory>, ConfigError> {
    let entry = find("strategy", STRATEGIES, &section.name).map_err(|e| e.within("strategy"))?;
    (entry.build)(Value::Object(section.settings.clone())).map_err(|e| e.within("strategy"))
}

/// Sees to it that a count is not 0.
fn at_least_one(name: &str, count: usize) -> Result<(), ConfigError> {
    if count == 0 { Err(ConfigError::at(name, "expected at least 1, got 0")) } else { Ok(()) }
}

/// Sees to it that a tree has room for as many nodes as these counts make together.
fn together(counts: &[(&str, usize)]) -> Result<(), ConfigError> {
    let counts: Vec<(&str, u64)> = counts.iter().map(|&(name, count)| (name, count as u64)).collect();
    bounds::together(&counts)
}

/// Sees to it that a scorer can be built, before anything starts.
fn check_scorer(section: &Section) -> Result<(), ConfigError> {
    scorers::scorer(section).map(drop)
}

/// Whole answers to the prompt, several at a time.
#[derive(Clone, Copy, Debug)]
struct Many {
    /// Asked for at once.
    at_once: usize,
    /// Asked for in all; `None` until the budget is spent.
    most: Option<usize>,
    asked: usize,
}

impl Many {
    fn new(n: usize, at_once: usize, fill: bool) -> Self {
        let most = if fill { None } else { Some(n) };
        Self { at_once: at_once.min(n), most, asked: 0 }
    }

    fn begin(&mut self, growth: &mut Growth<'_>) -> Result<(), String> {
        if self.most.is_none() && !growth.bounded() {
            return Err("fill: expected a budget to go up to, got none".to_owned());
        }
        for _ in 0..self.at_once {
            self.one(growth);
        }
        Ok(())
    }

    /// One more for one that came back, if there are any left.
    fn again(&mut self, growth: &mut Growth<'_>, event: &Event) {
        let more = self.most.is_none_or(|most| self.asked < most);
        if more && event.grown().is_some_and(|node| growth.fate(node) != crate::growth::Fate::Failed) {
            self.one(growth);
        }
    }

    fn one(&mut self, growth: &mut Growth<'_>) {
        growth.whole(0, self.asked as u64);
        self.asked += 1;
    }
}
