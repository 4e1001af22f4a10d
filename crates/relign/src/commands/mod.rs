//! The commands, one file each.

use std::io::{self, Write};

use serde::Serialize;

use crate::console::{Out, json_line, visible};

pub(crate) mod benchmark;
pub(crate) mod chat;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod contamination;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod leaderboard;
pub(crate) mod list;
pub(crate) mod measure;
pub(crate) mod pull;
pub(crate) mod render;
pub(crate) mod sampling;
pub(crate) mod sandbox;
pub(crate) mod search;
pub(crate) mod tasks;
pub(crate) mod train;
pub(crate) mod tree;
pub(crate) mod verify;

/// Prints `text`, [`visible`], and a line break on stdout. Unlike `println!`, a reader that went away is an error
/// to pass on, not a panic.
fn say(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(Out, "{}", visible(&text.to_string()))
}

/// Prints one JSON object as a line on stdout.
fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(writeln!(Out, "{}", json_line(value)?)?)
}
