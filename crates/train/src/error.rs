//! What can go wrong while training.

use std::path::PathBuf;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A number that must be finite is not. Weights are those of before the step.
    #[error(
        "step {step}: {what} is {value}; expected a finite number. The weights of the last checkpoint are unharmed; a lower learning rate or tighter clipping usually helps"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// Which number.
        what: &'static str,
        /// What it was.
        value: f64,
    },
    /// Every reward of a step failed: there is nothing to learn from, and going on would waste the run.
    #[error("step {step}: the reward failed for all {samples} samples; the first says: {reason}")]
    AllFailed {
        /// The step.
        step: u64,
        /// Samples in the step.
        samples: usize,
        /// The first failure's reason.
        reason: String,
    },
    /// A sample that cannot be learned from.
    #[error("task {task}, node {node}: {what}")]
    Sample {
        /// The task's id.
        task: String,
        /// The node of its tree.
        node: usize,
        /// Thing, expected, got.
        what: String,
    },
    /// A setting that the run cannot honour.
    #[error(transparent)]
    Config(#[from] relign_core::ConfigError),
    /// A task could not be made.
    #[error("environment: {0}")]
    Environment(String),
    /// Sampling broke.
    #[error(transparent)]
    Rollout(#[from] relign_core::RolloutError),
    /// The tensor backend refused.
    #[error("backend: {0}")]
    Backend(String),
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was saved cannot be gone on with.
    #[error("{path}: {what}")]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// Thing, expected, got.
        what: String,
    },
    /// A sink could not record an event.
    #[error("recording the run: {0}")]
    Sink(std::io::Error),
}

impl TrainError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}
