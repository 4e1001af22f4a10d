//! A report that was written before.

use std::path::{Path, PathBuf};

use relign_core::files;

use super::Report;

/// A file that is no report.
#[derive(Debug, thiserror::Error)]
#[error("{}: expected a report (`relign compare BASE TUNED --out DIR` writes compare.json), got {what}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What it is instead.
    pub what: String,
}

/// Reads the `compare.json` at `path`, or in the folder at `path`. Nothing vouches for its figures but the results that it
/// was made of.
///
/// # Errors
/// If there is no such file, or it is no report.
pub fn read(path: &Path) -> Result<Report, ReadError> {
    let path = if path.is_dir() { path.join("compare.json") } else { path.to_owned() };
    let wrong = |what: String| ReadError { path: path.clone(), what };
    let text = files::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}
