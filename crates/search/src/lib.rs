//! How computation at inference time is spent.
//!
//! A [strategy](strategies) is a pure state machine that grows one tree; the [`Driver`] runs the
//! strategies of many tasks at once on one engine, has a [`Judge`] score what they made, and hands the
//! trees over. Training, search and evaluation all get their trees from here.

mod driver;
mod growth;
mod journal;
mod judge;
mod mcts;
pub mod scorers;
mod start;
pub mod strategies;
mod together;

pub use driver::{Driver, Options, Progress, Record};
pub use growth::{Aggregate, Border, Steps};
pub use journal::{Journal, Told, read_journal, write_told};
pub use judge::Judge;
pub use mcts::{Backup, FinalChoice, Policy, Prior};
pub use scorers::{SCORERS, scorer};
pub use start::{Budget, LastLine, Start};
pub use strategies::{STRATEGIES, StrategyFactory, strategy};
pub use together::{Part, Shared, together};
