//! Training: algorithms that write credit on trees and state a loss, packing that forwards a shared
//! prefix once, the optimizer, the loop and a run's checkpoints.

pub mod algorithms;
mod checkpoint;
mod error;
mod manifest;
mod optimizer;
mod packing;
mod run;
mod trainer;
mod trunk;

pub use algorithms::{ALGORITHMS, Algorithm, Batch, Loss, Needs, PolicyOutput, Sample};
pub use checkpoint::{Progress, Saved};
pub use error::TrainError;
pub use manifest::{FileHash, Manifest, hex};
pub use optimizer::Optimizer;
pub use packing::{Packed, pack};
pub use run::{Outcome, Run, Sampler};
pub use trainer::{Trainer, TrainerOptions};
