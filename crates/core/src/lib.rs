//! RELIGN's vocabulary.
//!
//! Plain types and the traits the other crates meet through. No tensors, no async, no network: a
//! crate that depends on this one alone can be read, tested and compiled without a tensor backend.
//!
//! The one idea behind it is the reasoning [`Tree`]: a prompt is its root, everything a model or an
//! environment says is a [`Node`], and training, search, evaluation and logs all read the same tree.

pub mod bounds;
mod control;
mod device;
mod environment;
mod event;
pub mod files;
mod generate;
mod recipe;
mod registry;
mod sampling;
mod score;
mod scorer;
pub mod secrets;
mod seed;
pub mod settings;
mod skipped;
mod strategy;
mod task;
mod thought;
mod tree;

pub use control::is_control;
pub use device::Device;
pub use environment::{DataFile, Environment, Observation, Split};
pub use event::{Estimate, Event, RolloutMetrics, Sink, StepMetrics, StepTimings, UpdateMetrics};
pub use generate::{Completion, Finish, Generate, GenerateError, Odds, Request, Tokenize};
pub use recipe::{
    CheckpointSection, Dtype, EvalSection, KvCache, ModelSection, OptimizerSection, Recipe, RewardSection,
    RolloutWeights, RunSection, Schedule, Section, When,
};
pub use registry::{ConfigError, Entry, find, schema_of};
pub use sampling::{Constraint, Sampling};
pub use score::{Reward, RewardNeeds, Score, Spent, Transcript, Verdict};
pub use scorer::{Answers, By, Place, Question, Scorer, Valuation};
pub use secrets::without_secrets;
pub use seed::Seed;
pub use settings::parse;
pub use strategy::{RolloutError, Rollouts, Strategy};
pub use task::{JsonText, Message, Role, Task};
pub use thought::{ThoughtMarkers, answer_spans, opens_thought, without_thoughts};
pub use tree::{Author, Cost, Node, NodeId, Tree};
