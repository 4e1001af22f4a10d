//! Several rounds on one engine, as one batch.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use relign_core::{Completion, Generate, GenerateError, Message, Request, RolloutError, Task, Tree};

use crate::Driver;
use crate::driver::{PATIENCE, arrivals, hand_over_now};

/// One engine for several [`Driver`]s: each is given a [`Part`] of it, and [`together`] runs them all.
pub struct Shared<'e> {
    state: RefCell<State<'e>>,
}

struct State<'e> {
    engine: &'e mut dyn Generate,
    next: u64,
    /// Whose each request in flight is, and its number there.
    owners: HashMap<u64, (usize, u64)>,
    /// What came back for each part and was not fetched yet.
    arrived: Vec<VecDeque<(u64, Result<Completion, String>)>>,
    /// What each part waits for, fetched or not.
    in_flight: Vec<usize>,
}

/// A driver's part of a [`Shared`] engine.
pub struct Part<'s, 'e> {
    shared: &'s Shared<'e>,
    own: usize,
}

impl<'e> Shared<'e> {
    /// Shares `engine`.
    pub fn new(engine: &'e mut dyn Generate) -> Self {
        let (owners, arrived, in_flight) = (HashMap::new(), Vec::new(), Vec::new());
        Self { state: RefCell::new(State { engine, next: 0, owners, arrived, in_flight }) }
    }

    /// One more part.
    pub fn part(&self) -> Part<'_, 'e> {
        let mut state = self.state.borrow_mut();
        state.arrived.push(VecDeque::new());
        state.in_flight.push(0);
        Part { shared: self, own: state.arrived.len() - 1 }
    }

    /// Has the engine work for a while, if there is anything to do; whether there was.
    fn work(&self) -> Result<bool, GenerateError> {
        let State { engine, owners, arrived, .. } = &mut *self.state.borrow_mut();
        if owners.is_empty() {
            return Ok(false);
        }
        let answers = arrivals::answers(*engine, owners.len())?;
        for (id, answer) in answers {
            let Some((part, own)) = owners.remove(&id) else {
                return Err(GenerateError::Engine(format!("completion of request {id}, which is not in flight")));
            };
            arrived[part].push_back((own, answer));
        }
        Ok(true)
    }

    /// Frees the engine of everything.
    fn abandon(&self) {
        let State { engine, owners, .. } = &mut *self.state.borrow_mut();
        arrivals::abandon(*engine, owners.drain().map(|(id, _)| id));
    }
}

impl Part<'_, '_> {
    fn take(
        &self,
        request: Request,
        hand_in: impl FnOnce(&mut dyn Generate, Request) -> Result<(), GenerateError>,
    ) -> Result<(), GenerateError> {
        let State { engine, next, owners, in_flight, .. } = &mut *self.shared.state.borrow_mut();
        let (id, own) = (*next, request.id);
        hand_in(*engine, Request { id, ..request })?;
        *next += 1;
        owners.insert(id, (self.own, own));
        in_flight[self.own] += 1;
        Ok(())
    }
}

impl Generate for Part<'_, '_> {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        self.take(request, |engine, request| engine.submit(request))
    }

    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        self.take(request, |engine, request| engine.submit_conversation(request, messages))
    }

    /// What came back; the engine itself works for all parts at once, see [`together`].
    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        let State { arrived, in_flight, .. } = &mut *self.shared.state.borrow_mut();
        let (arrived, in_flight) = (&mut arrived[self.own], &mut in_flight[self.own]);
        let mut completions = Vec::new();
        while let Some((id, answer)) = arrived.pop_front() {
            match answer {
                Ok(completion) => completions.push(Completion { id, ..completion }),
                // A failure comes alone: those before it first.
                Err(what) if completions.is_empty() => {
                    *in_flight -= 1;
                    return Err(GenerateError::Failed { id, what });
                }
                failed @ Err(_) => {
                    arrived.push_front((id, failed));
                    break;
                }
            }
        }
        *in_flight -= completions.len();
        Ok(completions)
    }

    fn in_flight(&self) -> usize {
        self.shared.state.borrow().in_flight[self.own]
    }

    fn cancel(&mut self, id: u64) {
        let State { engine, owners, .. } = &mut *self.shared.state.borrow_mut();
        let found = owners.iter().find(|(_, owner)| **owner == (self.own, id));
        if let Some((&id, _)) = found {
            engine.cancel(id);
        }
    }
}

/// Runs several rounds at once, each with its own judge, strategy and sampling, on parts of one engine: what one of them
/// leaves idle another uses. `each` is given a tree as soon as it is finished, with the place of its round and of its
/// task there; in which order trees come depends on how long each takes, but no tree depends on any other.
///
/// # Errors
/// As [`Rollouts::run`](relign_core::Rollouts::run) of any of them; then all of them end.
pub fn together<'a>(
    shared: &Shared<'_>,
    rounds: Vec<(Driver<'a>, Vec<Task>)>,
    each: &mut dyn FnMut(usize, usize, Tree),
) -> Result<(), RolloutError> {
    let mut drivers = Vec::with_capacity(rounds.len());
    for (mut driver, tasks) in rounds {
        let round = driver.prepare(tasks)?;
        drivers.push((driver, round));
    }
    let mut all = || {
        for (number, (driver, round)) in drivers.iter_mut().enumerate() {
            driver.begin(round)?;
            hand_over_now(round, &mut |place, tree| each(number, place, tree));
        }
        while drivers.iter().any(|(_, round)| !round.is_over()) {
            // While the engine works for anybody, nobody waits for scores.
            let patience = if shared.work()? { Duration::ZERO } else { PATIENCE };
            for (number, (driver, round)) in drivers.iter_mut().enumerate().filter(|(_, (_, round))| !round.is_over()) {
                driver.step(round, patience)?;
                hand_over_now(round, &mut |place, tree| each(number, place, tree));
            }
        }
        Ok(())
    };
    let outcome = all();
    if outcome.is_err() {
        shared.abandon();
        drivers.iter_mut().for_each(|(driver, _)| driver.judge.clear());
    }
    outcome
}
