//! The state of one round: every task's strategy, and what it waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use relign_core::{By, Completion, Finish, NodeId, RolloutError, Score, Strategy, Task, Tokenize, Tree};

use super::Progress;
use super::advance::nothing;
use super::thoughts::count_thoughts;
use crate::journal::Told;

/// A strategy at work.
pub(super) struct Growth<'a> {
    pub(super) task: Arc<Task>,
    pub(super) strategy: Box<dyn Strategy + 'a>,
    /// What it is told again.
    pub(super) recorded: VecDeque<Told>,
    /// How much of that it is still to be told, which needs no record.
    pub(super) known: usize,
    /// What was asked for and not told yet, in the order of asking.
    pub(super) owed: VecDeque<Owed>,
    /// Why requests failed, in the order in which the strategy heard of it.
    pub(super) failures: VecDeque<String>,
    /// Whether a completion came without its tokens, so that nothing can go on from it.
    pub(super) tokenless: bool,
}

impl Growth<'_> {
    /// What was recorded of what is asked for next, if anything.
    pub(super) fn again(&mut self, asked: (&'static str, u64)) -> Result<Option<Told>, RolloutError> {
        match self.recorded.pop_front() {
            Some(told) if told.about() == asked => {
                self.known += 1;
                Ok(Some(told))
            }
            Some(told) => {
                let ((what, number), (other, got)) = (asked, told.about());
                Err(self.fault(format!(
                    "its journal: expected {what} {number} next, got {other} {got}; it is another search's"
                )))
            }
            None => Ok(None),
        }
    }

    /// Whether its tree is complete.
    pub(super) fn ended(&self) -> bool {
        self.owed.is_empty() && self.strategy.finished()
    }

    pub(super) fn tell(&mut self, told: Told) {
        match told {
            Told::Completion(completion) => {
                self.tokenless |= completion.tokens.is_empty() && completion.finish != Finish::Cancelled;
                self.strategy.tell(completion);
            }
            Told::Failed { id, why } => {
                self.failures.push_back(why);
                self.strategy.tell(nothing(id));
            }
            Told::Score { node, score } => self.strategy.scored(node, score),
            Told::Value { node, by, value } => self.strategy.valued(node, by, value),
        }
    }

    pub(super) fn fault(&self, what: String) -> RolloutError {
        RolloutError::Task { task: self.task.id.clone(), what }
    }
}

/// An answer that a strategy waits for.
pub(super) enum Owed {
    Completion { id: u64, got: Option<Result<Completion, String>> },
    Score { node: NodeId, ticket: Option<u64>, got: Option<Score> },
    Value { node: NodeId, by: By, got: Option<Result<f64, String>> },
}

impl Owed {
    pub(super) fn arrived(&self) -> bool {
        match self {
            Self::Completion { got, .. } => got.is_some(),
            Self::Score { got, .. } => got.is_some(),
            Self::Value { got, .. } => got.is_some(),
        }
    }
}

/// The state of one round.
pub(crate) struct Round<'a> {
    pub(super) tokenizer: &'a dyn Tokenize,
    /// By task; `None` once handed over.
    pub(super) growths: Vec<Option<Growth<'a>>>,
    /// The first task whose tree has not been handed over.
    pub(super) next: usize,
    /// The first task that has not begun.
    pub(super) begun: usize,
    /// The task of each request in flight and the strategy's own number for it.
    pub(super) requests: HashMap<u64, (usize, u64)>,
    pub(super) next_request: u64,
    /// The task of each transcript being judged.
    pub(super) tickets: HashMap<u64, usize>,
    /// Nodes to be valued, with their tasks.
    pub(super) unvalued: Vec<(usize, NodeId, By)>,
    /// When all must end.
    pub(super) end: Option<Instant>,
    pub(super) progress: Progress,
}

impl Round<'_> {
    /// Whether every tree was handed over.
    pub(crate) fn is_over(&self) -> bool {
        self.next == self.growths.len()
    }

    /// How many tasks have begun and not ended.
    pub(super) fn at_work(&self) -> usize {
        self.growths[self.next..self.begun].iter().flatten().filter(|growth| !growth.ended()).count()
    }
}

/// Gives away finished trees, in task order.
pub(super) fn hand_over(round: &mut Round<'_>, each: &mut dyn FnMut(Tree)) {
    while let Some(slot) = round.growths[..round.begun].get_mut(round.next) {
        let Some(tree) = finished(slot, round.tokenizer) else { break };
        each(tree);
        round.next += 1;
    }
}

/// Gives away finished trees as they come, each with its task's place.
pub(crate) fn hand_over_now(round: &mut Round<'_>, each: &mut dyn FnMut(usize, Tree)) {
    for (place, slot) in round.growths[..round.begun].iter_mut().enumerate().skip(round.next) {
        if let Some(tree) = finished(slot, round.tokenizer) {
            each(place, tree);
        }
    }
    round.next += round.growths[round.next..round.begun].iter().take_while(|slot| slot.is_none()).count();
}

/// The tree in `slot`, once it is complete.
fn finished(slot: &mut Option<Growth<'_>>, tokenizer: &dyn Tokenize) -> Option<Tree> {
    let mut tree = slot.take_if(|growth| growth.ended())?.strategy.into_tree();
    count_thoughts(&mut tree, tokenizer);
    Some(tree)
}
