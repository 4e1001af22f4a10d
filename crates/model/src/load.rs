//! Why a model cannot be built from a checkpoint.

use crate::CheckpointError;

/// Why a model cannot be built from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor is not there.
    #[error("tensor `{0}`: expected in the checkpoint, not found")]
    Missing(String),
    /// A tensor has another shape.
    #[error("tensor `{name}`: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// What the configuration calls for.
        expected: Vec<i64>,
        /// What the checkpoint holds.
        got: Vec<i64>,
    },
    /// Packed weights were to be computed with on a GPU.
    #[error("weights in fewer bits: expected the CPU, whose kernels multiply them, got a GPU")]
    Packed,
    /// No family implements this architecture.
    #[error("model_type `{0}`: expected one of {known}", known = crate::families::FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", "))]
    Family(String),
}
