//! The strategies: one file each, one line each in [`STRATEGIES`].

use relign_core::{ConfigError, Entry, Sampling, Section, Seed, Strategy, Tree, find};
use serde_json::Value;

pub mod sample;

pub use sample::Sample;

/// All strategies.
pub const STRATEGIES: &[Entry<dyn StrategyFactory>] = &[sample::ENTRY];

/// A strategy with its settings, ready to start on any number of tasks.
pub trait StrategyFactory: Send + Sync {
    /// Starts on `tree`, which holds its prompt alone. All randomness comes from `seed`.
    fn start(&self, tree: Tree, sampling: &Sampling, seed: Seed) -> Box<dyn Strategy>;

    /// How many completions a task is expected to take, for showing progress and planning memory.
    fn samples(&self) -> usize;
}

/// The strategy that a recipe's `strategy` section asks for.
///
/// # Errors
/// If there is no strategy of that name or a setting does not fit.
pub fn strategy(section: &Section) -> Result<Box<dyn StrategyFactory>, ConfigError> {
    let entry = find("strategy", STRATEGIES, &section.name).map_err(|e| e.within("strategy"))?;
    (entry.build)(Value::Object(section.settings.clone())).map_err(|e| e.within("strategy"))
}
