//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Why a checkpoint could not be read or written. Every message names the file, the thing, what was
/// expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged or not what it claims to be.
    #[error("{path}: {thing}: expected {expected}, got {got}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part that is wrong.
        thing: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A file that the checkpoint needs is not there.
    #[error("{path}: missing {thing}; {hint}")]
    MissingFile {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The missing file.
        thing: String,
        /// What it is needed for, or what to do.
        hint: String,
    },
    /// The checkpoint holds no tensor of that name.
    #[error("{path}: no tensor named {name}; the checkpoint holds {count} tensors{near}")]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The Hugging Face name asked for.
        name: String,
        /// How many tensors there are.
        count: usize,
        /// The most similar names there are, as the end of the sentence.
        near: String,
    },
    /// A tensor has another shape than the configuration demands.
    #[error("{path}: tensor {name}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the configuration demands.
        expected: Vec<i64>,
        /// The shape in the file.
        got: Vec<i64>,
    },
    /// The file is sound, but RELIGN cannot use it.
    #[error("{path}: {what}")]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What is not supported, and what is.
        what: String,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(
        path: &Path,
        thing: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Malformed { path: path.to_owned(), thing: thing.into(), expected: expected.into(), got: got.into() }
    }

    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), what: what.into() }
    }
}
