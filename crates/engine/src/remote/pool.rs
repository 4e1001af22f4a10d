//! Requests on threads, as many at once as the server is to bear.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relign_core::{Finish, Sampling, Seed};
use relign_http::{Http, chat};
use serde_json::Value;

use super::answer::{self, Answer};
use super::ask::{self, Changes, PARAMETERS, Prompt};
use super::dialect::Dialect;
use super::odds;
use super::spelled;
use super::{RemoteError, RemoteOptions};

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: u64,
    pub(super) prompt: Prompt,
    pub(super) sampling: Sampling,
    pub(super) seed: Seed,
    /// What reads an answer whose tokens the server does not tell; without it they stay unknown.
    pub(super) reader: Option<spelled::Shared>,
}

impl Job {
    /// Whether the answer is streamed, to be cut here; see the module's page.
    fn streams(&self, dialect: &Dialect) -> bool {
        let cut = self.reader.is_some() && !self.sampling.stop.is_empty() && !dialect.tells_stops;
        cut && !matches!(self.prompt, Prompt::Conversation(_))
    }
}

/// What came of a [`Job`].
pub(super) type Outcome = (u64, Result<Answer, RemoteError>);

/// Threads that ask one server.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    results: Receiver<Outcome>,
    most: usize,
}

#[derive(Debug)]
struct Shared {
    http: Http,
    model: String,
    dialect: &'static Dialect,
    changes: Changes,
    results: Sender<Outcome>,
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// Something was cancelled or all ends: no more waiting.
    stop: Condvar,
    /// Tries after the first, of all requests.
    retried: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    /// Tickets at work that nobody waits for any more.
    cancelled: HashSet<u64>,
    working: HashSet<u64>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(http: Http, model: String, dialect: &'static Dialect, options: &RemoteOptions) -> Self {
        let (sender, results) = channel();
        let shared = Shared {
            http,
            model,
            dialect,
            changes: Changes::default(),
            results: sender,
            state: Mutex::default(),
            work: Condvar::new(),
            stop: Condvar::new(),
            retried: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), results, most: options.concurrency.max(1) }
    }

    /// Changes every request from now on; before the first.
    pub(super) fn change(&mut self, changes: Changes) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.changes = changes;
        }
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.shared.changes
    }

    /// Asks one thing after another.
    pub(super) fn one_at_a_time(&mut self) {
        self.most = 1;
    }

    pub(super) fn http(&self) -> &Http {
        &self.shared.http
    }

    pub(super) fn model(&self) -> &str {
        &self.shared.model
    }

    pub(super) fn dialect(&self) -> &'static Dialect {
        self.shared.dialect
    }

    /// Tries after the first, of all requests so far.
    pub(super) fn retried(&self) -> u64 {
        self.shared.retried.load(Ordering::Relaxed)
    }

    /// Queues a request; its outcome comes from [`drain`](Self::drain).
    pub(super) fn submit(&self, job: Job) -> Result<(), RemoteError> {
        let mut state = self.shared.state();
        if state.idle <= state.queue.len() && state.threads < self.most {
            let shared = Arc::clone(&self.shared);
            let hired = std::thread::Builder::new().name("remote".to_owned()).spawn(move || work(&shared));
            match hired {
                Ok(_) => state.threads += 1,
                // Fewer threads are slower, none is too few.
                Err(error) if state.threads == 0 => return Err(RemoteError::Threads(error.to_string())),
                Err(_) => {}
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes a request back. Its outcome may still come if the server is at work on it.
    pub(super) fn cancel(&self, ticket: u64) {
        let mut state = self.shared.state();
        state.queue.retain(|job| job.ticket != ticket);
        if state.working.contains(&ticket) {
            state.cancelled.insert(ticket);
            drop(state);
            self.shared.stop.notify_all();
        }
    }

    /// What is there, after a wait of up to `patience` for the first.
    pub(super) fn drain(&self, patience: Duration) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self.results.recv_timeout(patience).into_iter().collect();
        outcomes.extend(self.results.try_iter());
        outcomes
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.queue.clear();
        drop(state);
        // Threads that wait for the server end with its answer; nobody waits for them.
        self.shared.work.notify_all();
        self.shared.stop.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request; `None` once all ends.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                state.working.insert(job.ticket);
                return Some(job);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Whether anybody waits for the answer to a request at work.
    fn is_wanted(&self, ticket: u64) -> bool {
        let state = self.state();
        !state.closed && !state.cancelled.contains(&ticket)
    }

    /// Waits; whether the request is still wanted.
    fn rest(&self, ticket: u64, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = self.state();
        loop {
            if state.closed || state.cancelled.contains(&ticket) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.retried.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            state = self.stop.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask(&self, job: &Job) -> Result<Answer, RemoteError> {
        let streams = job.streams(self.dialect);
        let mut body = ask::body(&self.model, self.dialect, &job.prompt, &job.sampling, job.seed, streams);
        self.changes.apply(&mut body);
        let mut rest = |wait| self.rest(job.ticket, wait);
        let url = format!("{}{}", self.http.base(), job.prompt.path());
        let (seed, stops) = (job.seed.child("retry"), &job.sampling.stop);
        let answer = if streams {
            // llama-cpp-python's stream says so, too, where another request ended it.
            let done = !self.dialect.interrupts;
            let mut enough = |events: &[_]| spelled::enough(events, stops) || !self.is_wanted(job.ticket);
            let events = self.http.listen(&url, &body, seed, &mut rest, done, &mut enough);
            chat::joined(&events.map_err(|error| helped(error, &body))?)
        } else {
            self.http.ask_again(&url, &body, seed, &mut rest).map_err(|error| helped(error, &body))?
        };
        let read = || {
            let mut read = answer::read(&answer, &job.sampling)?;
            if self.changes.reshape() {
                // Nobody knows which distribution it was.
                read.logprobs.clear();
                read.odds.iter_mut().for_each(|odds| odds.sampler.clear());
            }
            if let (Some(from), Prompt::Tokens(tokens)) = (job.sampling.score_from, &job.prompt) {
                let top = job.sampling.top_logprobs.unwrap_or(0);
                read.prompt_odds = odds::of_prompt(&answer, tokens, from, top)?;
            }
            if let Some(reader) = job.reader.as_ref().filter(|_| read.tokens.is_empty()) {
                read.tokens = reader.0.read(&(read.text.clone() + read.stop.as_deref().unwrap_or_default()));
            }
            if job.sampling.max_tokens == 0 {
                let nothing = (String::new(), Vec::new(), Vec::new(), Vec::new());
                (read.text, read.tokens, read.logprobs, read.odds) = nothing;
                (read.finish, read.count) = (Finish::Length, Some(0));
            }
            Ok(read)
        };
        read().map_err(|what| relign_http::Error::Malformed { url, what }.into())
    }
}

/// A refusal that names a parameter, with what leaves it out.
fn helped(mut error: relign_http::Error, body: &Value) -> relign_http::Error {
    if let Some(name) = chat::refused_parameter(&error, body, &PARAMETERS)
        && let relign_http::Error::Status { said, .. } = &mut error
    {
        said.push_str(&format!("; --drop-params {name} leaves it out"));
    }
    error
}

fn work(shared: &Shared) {
    while let Some(job) = shared.next() {
        let outcome = catch_unwind(AssertUnwindSafe(|| shared.ask(&job))).unwrap_or_else(|_| {
            let what = "reading the answer failed (a fault of relign's)".to_owned();
            Err(relign_http::Error::Malformed { url: shared.http.base().to_owned(), what }.into())
        });
        let mut state = shared.state();
        state.working.remove(&job.ticket);
        state.cancelled.remove(&job.ticket);
        drop(state);
        if shared.results.send((job.ticket, outcome)).is_err() {
            return;
        }
    }
}
