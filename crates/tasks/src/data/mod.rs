//! Rows from files: JSON Lines, JSON, CSV and Parquet, also behind gzip; a file, a folder or a data set
//! on the hub.
//!
//! A file is read through once. What stays in memory is where its rows begin, eight bytes each; a row
//! is read again when it is asked for. What cannot be read by place (JSON, Parquet, gzip) is written as
//! JSON Lines into a temporary file without a name, which is gone when the process is.

mod documents;
mod formats;
mod front_matter;
mod json;
mod layout;
mod nulls;
mod parquets;
mod place;
mod posed;
mod table;
mod template;

pub(crate) use json::parse as parse_json;
pub(crate) use layout::{Role, role};
pub use place::{Fetched, Hub, HubId, set_hub};
pub(crate) use place::{Files, Found, in_folder, local};
pub(crate) use posed::{Posed, Spec, Use};
pub(crate) use table::{Rows, is_data};
pub(crate) use template::{Templates, seen};

/// A row: its fields by name.
pub(crate) type Row = std::collections::BTreeMap<String, minijinja::Value>;
