//! Monte Carlo tree search: what its strategies share.

mod plan;
mod rule;

pub(crate) use plan::{Mcts, Settings};
pub(crate) use rule::{Arm, Rule};
pub use rule::{Backup, FinalChoice, Policy, Prior};
