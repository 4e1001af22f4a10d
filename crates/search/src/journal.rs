//! What strategies were told, to go on from.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, Write};

use relign_core::{By, Completion, NodeId, Score};
use serde::{Deserialize, Serialize};

/// Something that a strategy was told.
///
/// Strategies are pure: started alike and told the same in the same order, they grow the same tree. So a search that was
/// cut short is restored by telling it again what it heard, which costs no tokens, and goes on from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A completion, under the strategy's own number.
    Completion(Completion),
    /// A request that failed, and why.
    Failed {
        /// The request's number.
        id: u64,
        /// Why.
        why: String,
    },
    /// A verdict.
    Score {
        /// The node.
        node: NodeId,
        /// Its score.
        score: Score,
    },
    /// A value from outside the strategy.
    Value {
        /// The node.
        node: NodeId,
        /// Who gave it.
        by: By,
        /// The value, or why there is none.
        value: Result<f64, String>,
    },
}

impl Told {
    /// What it answers, in a word and a number.
    pub(crate) const fn about(&self) -> (&'static str, u64) {
        match self {
            Self::Completion(completion) => ("request", completion.id),
            Self::Failed { id, .. } => ("request", *id),
            Self::Score { node, .. } => ("score of node", *node as u64),
            Self::Value { node, by, .. } => (valued_by(*by), *node as u64),
        }
    }
}

/// What a value from outside is called.
pub(crate) const fn valued_by(by: By) -> &'static str {
    match by {
        By::Scorer => "value of node",
        By::Checker => "check of node",
    }
}

/// One line of a journal.
#[derive(Serialize, Deserialize)]
struct Line {
    task: String,
    told: Told,
}

/// What was told to each task's strategy, in order.
pub type Journal = HashMap<String, VecDeque<Told>>;

/// Writes one line.
///
/// # Errors
/// If it cannot be written.
pub fn write_told(out: &mut dyn Write, task: &str, told: &Told) -> std::io::Result<()> {
    let line = serde_json::to_string(&Line { task: task.to_owned(), told: told.clone() })?;
    writeln!(out, "{line}")
}

/// Reads a journal. A last line that was cut off by a crash is left out.
///
/// # Errors
/// If it cannot be read, or a line before the last is not one of a journal; the message names the line.
pub fn read_journal(from: impl BufRead) -> Result<Journal, String> {
    let mut journal = Journal::new();
    let mut broken: Option<String> = None;
    for (at, line) in from.lines().enumerate() {
        if let Some(what) = broken {
            return Err(what);
        }
        let line = line.map_err(|error| format!("line {}: {error}", at + 1))?;
        match serde_json::from_str::<Line>(&line) {
            Ok(Line { task, told }) => journal.entry(task).or_default().push_back(told),
            Err(error) => broken = Some(format!("line {}: expected what a strategy was told, got {error}", at + 1)),
        }
    }
    Ok(journal)
}
