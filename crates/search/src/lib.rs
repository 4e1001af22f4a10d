//! How computation at inference time is spent.
//!
//! A [strategy](strategies) is a pure state machine that grows one tree; the [`Driver`] runs the
//! strategies of many tasks at once on one engine, has a [`Judge`] score what they made, and hands the
//! trees over. Training, search and evaluation all get their trees from here.

mod driver;
mod judge;
pub mod strategies;

pub use driver::{Driver, Progress};
pub use judge::Judge;
pub use strategies::{STRATEGIES, StrategyFactory, strategy};
