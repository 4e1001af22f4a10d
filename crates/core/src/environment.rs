//! Where tasks come from.

use serde::{Deserialize, Serialize};

use crate::{Message, RewardNeeds, Score, Task, Transcript};

/// The part of an environment's tasks that is asked for. Both parts are disjoint by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Tasks to learn from.
    Train,
    /// Held-out tasks to measure on.
    Eval,
}

impl Split {
    /// The split's name in task ids and seeds.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Eval => "eval",
        }
    }
}

/// A source of tasks and, for those with several turns, the world that answers the model.
pub trait Environment: Send + Sync {
    /// The number of distinct tasks in a split; `None` where they are made without end.
    fn len(&self, split: Split) -> Option<u64>;

    /// The task at `index`: a pure function of the environment's settings, the split and the index.
    ///
    /// # Errors
    /// If the task cannot be made or read; the message names thing, expected and got.
    fn task(&self, split: Split, index: u64) -> Result<Task, String>;

    /// The environment's own judgement of whether the task was solved.
    fn score(&self, task: &Task, transcript: &Transcript) -> Score;

    /// Its judgement of several answers to `task`, one for each, in their order; see
    /// [`Reward::score_group`](crate::Reward::score_group).
    fn score_group(&self, task: &Task, group: &[Transcript]) -> Vec<Score> {
        group.iter().map(|transcript| self.score(task, transcript)).collect()
    }

    /// Whether two answers to `task`, as its scores have them, are the same answer; see [`Reward::same`](crate::Reward::same).
    fn same(&self, _task: &Task, a: &str, b: &str) -> bool {
        a == b
    }

    /// What its judgement asks of whoever runs it, as a reward's.
    fn needs(&self) -> RewardNeeds {
        RewardNeeds::default()
    }

    /// A transcript that solves the task, for tests of every environment: it must score 1. Where no
    /// solution is known it is empty; nothing is made up.
    fn oracle(&self, task: &Task) -> Transcript;

    /// Answers the model's last turn; `None` ends the conversation. Single-turn environments keep
    /// this default.
    fn step(&self, _task: &Task, _transcript: &Transcript) -> Option<Observation> {
        None
    }

    /// The files that its tasks are read from, for a run's record; read where they were not yet. Empty
    /// for tasks that are made rather than read, and where the files cannot be read.
    fn data(&self) -> Vec<DataFile> {
        Vec::new()
    }
}

/// A file that tasks were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path, or its data set, commit and path on the hub.
    pub name: String,
    /// SHA-256 of its bytes, as hexadecimal digits.
    pub sha256: String,
    /// Its rows.
    pub rows: u64,
    /// Those of them that could not be used.
    pub bad_rows: u64,
}

/// What an environment says after a turn of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The next messages.
    pub messages: Vec<Message>,
}
