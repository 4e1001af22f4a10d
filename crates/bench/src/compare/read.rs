//! A report that was written before.

use std::path::{Path, PathBuf};

use relign_core::files;

use super::Report;
use crate::digest;

/// A file that is no report.
#[derive(Debug, thiserror::Error)]
#[error("{}: expected a report (`relign compare BASE TUNED --out DIR` writes compare.json), got {what}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What it is instead.
    pub what: String,
}

/// The text of a `compare.json`: the report, and the SHA-256 of it, which tells whether it was changed since. There is no
/// signature.
///
/// # Errors
/// If a figure is no JSON number.
pub fn sealed(report: &Report) -> serde_json::Result<String> {
    let body = serde_json::to_string_pretty(report)?;
    let body = body.strip_suffix("\n}").unwrap_or(&body);
    Ok(format!("{body}{SEAL}{}\"\n}}\n", digest::sha256([body.as_bytes()])))
}

/// What stands between a report and its hash.
const SEAL: &str = ",\n  \"sha256\": \"";

/// Reads the `compare.json` at `path`, or in the folder at `path`.
///
/// # Errors
/// If there is no such file, it is no report, or not as it was written.
pub fn read(path: &Path) -> Result<Report, ReadError> {
    let path = if path.is_dir() { path.join("compare.json") } else { path.to_owned() };
    let wrong = |what: String| ReadError { path: path.clone(), what };
    let text = files::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let report = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let (body, seal) = text.rsplit_once(SEAL).ok_or_else(|| wrong("one without its sha256".to_owned()))?;
    if seal.trim_end().trim_end_matches('}').trim_end() != format!("{}\"", digest::sha256([body.as_bytes()])) {
        return Err(wrong("one that was changed since it was written: its sha256 is another".to_owned()));
    }
    Ok(report)
}
