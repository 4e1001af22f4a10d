//! What strategies are told, in the order of their asking, and what they ask next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use relign_core::{Completion, Finish, Generate, GenerateError, Request, RolloutError, Score, Task};

use super::Driver;
use super::round::{Growth, Owed, Round};
use crate::Judge;
use crate::journal::{Told, valued_by};

impl<'a> Driver<'a> {
    /// Tells a strategy what has arrived, in the order of its asking, and takes up what it asks next.
    pub(super) fn advance(&mut self, round: &mut Round<'a>, index: usize) -> Result<(), RolloutError> {
        let Some(growth) = &mut round.growths[index] else { return Ok(()) };
        loop {
            // What is known already, a strategy may be told without end.
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(RolloutError::Interrupted);
            }
            for mut request in growth.strategy.ask() {
                let own = request.id;
                if growth.tokenless {
                    let what = "its strategy goes on after an answer whose tokens are not known; with --tokenizer \
                                MODEL they are";
                    return Err(RolloutError::Task { task: growth.task.id.clone(), what: what.to_owned() });
                }
                if let Some(told) = growth.again(("request", own))? {
                    let got = match told {
                        Told::Completion(completion) => Ok(completion),
                        Told::Failed { why, .. } => Err(why),
                        Told::Score { .. } | Told::Value { .. } => unreachable!("it is about a request"),
                    };
                    round.progress.done += 1;
                    round.progress.tokens += got.as_ref().map_or(0, |completion| completion.tokens.len() as u64);
                    growth.owed.push_back(Owed::Completion { id: own, got: Some(got) });
                    continue;
                }
                request.id = round.next_request;
                round.next_request += 1;
                submit(self.engine, request, own, &growth.task)?;
                round.requests.insert(round.next_request - 1, (index, own));
                growth.owed.push_back(Owed::Completion { id: own, got: None });
            }
            for (node, by) in growth.strategy.unvalued() {
                let got = match growth.again((valued_by(by), node as u64))? {
                    Some(Told::Value { value, .. }) => Some(value),
                    _ => None,
                };
                if got.is_none() {
                    round.unvalued.push((index, node, by));
                }
                growth.owed.push_back(Owed::Value { node, by, got });
            }
            for node in growth.strategy.unscored() {
                if let Some(Told::Score { score, .. }) = growth.again(("score of node", node as u64))? {
                    growth.owed.push_back(Owed::Score { node, ticket: None, got: Some(score) });
                    continue;
                }
                let tree = growth.strategy.tree();
                let unjudged = match tree.nodes[node].finish {
                    Some(Finish::Cancelled) => Some("the request was cancelled before its answer was complete".into()),
                    Some(Finish::Failed) => {
                        Some(growth.failures.pop_front().unwrap_or_else(|| "the request failed".to_owned()))
                    }
                    _ => None,
                };
                growth.owed.push_back(if let Some(why) = unjudged {
                    Owed::Score { node, ticket: None, got: Some(Score::failed(why)) }
                } else if self.judge.wants_groups() {
                    Owed::Score { node, ticket: None, got: None }
                } else {
                    let ticket = self.judge.submit(Arc::clone(&growth.task), tree.transcript(node));
                    round.tickets.insert(ticket, index);
                    Owed::Score { node, ticket: Some(ticket), got: None }
                });
            }
            if !growth.owed.front().is_some_and(Owed::arrived) {
                submit_group(self.judge, growth, index, &mut round.tickets);
                break;
            }
            let told = match growth.owed.pop_front() {
                Some(Owed::Completion { got: Some(Ok(completion)), .. }) => Told::Completion(completion),
                Some(Owed::Completion { id, got: Some(Err(why)) }) => Told::Failed { id, why },
                Some(Owed::Score { node, got: Some(score), .. }) => Told::Score { node, score },
                Some(Owed::Value { node, by, got: Some(value) }) => Told::Value { node, by, value },
                _ => unreachable!("only arrived answers are taken"),
            };
            if growth.known > 0 {
                growth.known -= 1;
            } else if let Some(record) = &mut self.options.record {
                let broke = |error: std::io::Error| growth.fault(format!("its journal: {error}"));
                record(&growth.task.id, &told).map_err(broke)?;
            }
            growth.tell(told);
            if let Some(what) = growth.strategy.fault() {
                return Err(growth.fault(what));
            }
        }
        if growth.owed.is_empty() && !growth.strategy.finished() {
            let what = "its strategy asks for nothing more but is not finished".to_owned();
            return Err(RolloutError::Task { task: growth.task.id.clone(), what });
        }
        Ok(())
    }
}

/// Submits a request; a refusal names the task.
fn submit(engine: &mut dyn Generate, request: Request, own: u64, task: &Task) -> Result<(), RolloutError> {
    let refused = |what: String| RolloutError::Task { task: task.id.clone(), what };
    engine.submit_conversation(request, &task.messages).map_err(|error| match error {
        GenerateError::TooLong { tokens, context, .. } => refused(format!(
            "its prompt has {tokens} tokens; the context holds {context}, of which at least one must be left"
        )),
        GenerateError::Invalid { what, .. } | GenerateError::Failed { what, .. } => {
            refused(format!("request {own}: {what}"))
        }
        broken @ GenerateError::Engine(_) => broken.into(),
    })
}

/// Has everything judged together that a strategy wants judged, once it waits for nothing else: the group depends on
/// what was asked for, not on what came first.
fn submit_group(judge: &mut Judge, growth: &mut Growth, index: usize, tickets: &mut HashMap<u64, usize>) {
    if growth.owed.iter().any(|owed| matches!(owed, Owed::Completion { got: None, .. })) {
        return;
    }
    let tree = growth.strategy.tree();
    let held = |owed: &&mut Owed| matches!(owed, Owed::Score { ticket: None, got: None, .. });
    let (mut transcripts, mut places) = (Vec::new(), Vec::new());
    for owed in growth.owed.iter_mut().filter(held) {
        if let Owed::Score { node, ticket, .. } = owed {
            transcripts.push(tree.transcript(*node));
            places.push(ticket);
        }
    }
    let first = judge.submit_group(Arc::clone(&growth.task), transcripts);
    for (own, place) in (first..).zip(places) {
        *place = Some(own);
        tickets.insert(own, index);
    }
}

/// What a strategy hears of a request that failed.
pub(super) fn nothing(id: u64) -> Completion {
    let (tokens, logprobs, text, finish) = (Vec::new(), Vec::new(), String::new(), Finish::Failed);
    let (odds, prompt_odds, certainty) = (Vec::new(), Vec::new(), Vec::new());
    Completion { id, tokens, logprobs, text, finish, version: 0, odds, prompt_odds, certainty }
}
