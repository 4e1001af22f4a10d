//! What comes back from the engine, the judge and those who value nodes.

use std::collections::HashMap;
use std::time::Duration;

use relign_core::{By, Completion, Generate, GenerateError, NodeId, Place, RolloutError};

use super::Driver;
use super::round::{Owed, Round};

/// A request's id, and its completion or why it has none: told to its strategy as an answer that nobody can judge.
pub(crate) type Answer = (u64, Result<Completion, String>);

/// What the engine has to say next, `expected` answers being owed.
///
/// # Errors
/// If the engine breaks, or owes nothing.
pub(crate) fn answers(engine: &mut dyn Generate, expected: usize) -> Result<Vec<Answer>, GenerateError> {
    let answers: Vec<Answer> = match engine.poll() {
        Ok(completions) => completions.into_iter().map(|completion| (completion.id, Ok(completion))).collect(),
        Err(GenerateError::Failed { id, what }) => vec![(id, Err(what))],
        Err(broken) => return Err(broken),
    };
    if answers.is_empty() && engine.in_flight() == 0 {
        let what = format!("expected {expected} more completions, but nothing is in flight");
        return Err(GenerateError::Engine(what));
    }
    Ok(answers)
}

/// Frees the engine of `requests`, in the order in which they were asked: engines find the oldest first, and of many
/// requests in any other order each would be looked for among all.
pub(crate) fn abandon(engine: &mut dyn Generate, requests: impl Iterator<Item = u64>) {
    let mut requests: Vec<u64> = requests.collect();
    requests.sort_unstable();
    requests.into_iter().for_each(|id| engine.cancel(id));
    // Cancelled requests come back from the next poll; an engine that broke has lost them anyway.
    let mut polls = 0;
    while engine.in_flight() > 0 && polls < 16 && matches!(engine.poll(), Ok(_) | Err(GenerateError::Failed { .. })) {
        polls += 1;
    }
}

impl<'a> Driver<'a> {
    /// Polls the engine; the tasks that something came back for.
    pub(super) fn completions(&mut self, round: &mut Round<'a>) -> Result<Vec<usize>, RolloutError> {
        if round.requests.is_empty() {
            return Ok(Vec::new());
        }
        let answers = answers(self.engine, round.requests.len())?;
        let mut touched = Vec::with_capacity(answers.len());
        // Answers come about in the order of asking: the next one is looked for behind the last.
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (id, mut answer) in answers {
            let Some((index, own)) = round.requests.remove(&id) else {
                let what = format!("completion of request {id}, which is not in flight");
                return Err(GenerateError::Engine(what).into());
            };
            if let Ok(completion) = &mut answer {
                // None at all is what a server gives that does not tell them.
                if !completion.logprobs.is_empty() && completion.tokens.len() != completion.logprobs.len() {
                    let (tokens, logprobs) = (completion.tokens.len(), completion.logprobs.len());
                    let what = format!("expected {tokens} log-probabilities for as many tokens, got {logprobs}");
                    return Err(GenerateError::Engine(what).into());
                }
                completion.id = own;
                round.progress.tokens += completion.tokens.len() as u64;
            }
            round.progress.done += 1;
            if let Some(growth) = &mut round.growths[index] {
                let owed = |entry: &Owed| matches!(entry, Owed::Completion { id, got: None } if *id == own);
                let start = last.get(&index).copied().unwrap_or(0);
                let behind = growth.owed.iter().skip(start).position(owed).map(|at| start + at);
                let place = behind.or_else(|| growth.owed.iter().take(start).position(owed));
                if let Some(Owed::Completion { got, .. }) = place.and_then(|at| growth.owed.get_mut(at)) {
                    *got = Some(answer);
                }
                last.insert(index, place.unwrap_or(start));
            }
            touched.push(index);
        }
        if !touched.is_empty()
            && let Some(progress) = &mut self.progress
        {
            progress(round.progress);
        }
        Ok(touched)
    }

    /// Collects scores; the tasks that something came back for.
    pub(super) fn scores(&mut self, round: &mut Round<'a>, patience: Duration) -> Vec<usize> {
        let mut touched = Vec::new();
        for (ticket, score) in self.judge.drain(patience) {
            // A ticket of an earlier round that was cut short means nothing here.
            let Some(index) = round.tickets.remove(&ticket) else { continue };
            let owed = round.growths[index].iter_mut().flat_map(|growth| &mut growth.owed);
            for entry in owed {
                if let Owed::Score { ticket: Some(own), got, .. } = entry
                    && *own == ticket
                {
                    *got = Some(score);
                    break;
                }
            }
            touched.push(index);
        }
        touched
    }

    /// Has all nodes valued that wait for it; the tasks that something came back for.
    pub(super) fn values(&mut self, round: &mut Round<'a>) -> Vec<usize> {
        let wanted = std::mem::take(&mut round.unvalued);
        for (by, scorer) in [(By::Scorer, self.options.scorer), (By::Checker, self.options.checker)] {
            let nodes = || wanted.iter().filter(|(_, _, own)| *own == by);
            let place = |&(index, node, _): &(usize, NodeId, By)| {
                round.growths[index].as_ref().map(|g| Place { task: &g.task, tree: g.strategy.tree(), node })
            };
            let places: Vec<Place<'_>> = nodes().filter_map(place).collect();
            let count = places.len();
            // Strategies do not start without what they ask for.
            let (Some(scorer), 1..) = (scorer, count) else { continue };
            let mut values = scorer.values(&places);
            if values.len() != count {
                let what = format!("scorer: expected {count} values for as many nodes, got {}", values.len());
                values = vec![Err(what); count];
            }
            for (&(index, wanted, _), value) in nodes().zip(values) {
                let owed = round.growths[index].iter_mut().flat_map(|growth| &mut growth.owed);
                for entry in owed {
                    if let Owed::Value { node, by: own, got } = entry
                        && (*node, *own) == (wanted, by)
                        && got.is_none()
                    {
                        *got = Some(value);
                        break;
                    }
                }
            }
        }
        wanted.into_iter().map(|(index, _, _)| index).collect()
    }
}
