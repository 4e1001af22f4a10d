//! Rewards on threads of their own, under a time limit.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use relign_core::{Reward, Score, Task, Transcript};

/// Threads that are stuck in a reward at once before further samples fail without being tried.
const MOST_STUCK: usize = 64;

/// Scores transcripts on a pool of threads.
///
/// A reward that panics, overruns the limit or returns a number that is not finite yields
/// [`Verdict::Failed`](relign_core::Verdict::Failed) for its sample and harms nothing else. Rust cannot
/// end a thread from outside: one that overruns is left behind and replaced, so it costs its core
/// until it returns, but blocks neither the run nor its exit.
pub struct Judge {
    shared: Arc<Shared>,
    results: Receiver<(u64, Score)>,
    limit: Duration,
    next: u64,
}

thread_local! {
    /// On a judge's thread that is judging: where its reward panicked.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
    static JUDGING: Cell<bool> = const { Cell::new(false) };
}

static QUIET: Once = Once::new();

/// Panics of rewards go into their scores. Printed as well, with a backtrace each, they would drown a
/// run's progress and take longer than the rewards' own limit.
fn keep_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if JUDGING.get() {
            PLACE.set(info.location().map(ToString::to_string));
        } else {
            usual(info);
        }
    }));
}

struct Shared {
    reward: Arc<dyn Reward>,
    limit: Duration,
    results: Sender<(u64, Score)>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Jobs being worked on and when they began.
    running: HashMap<u64, Instant>,
    /// Threads ready to work or working within the limit.
    threads: usize,
    /// Threads left behind in a reward that overran.
    stuck: usize,
    closed: bool,
}

struct Job {
    ticket: u64,
    task: Arc<Task>,
    transcript: Transcript,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned one would still hold whole jobs.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge {
    /// A pool of `threads` (at least 1) that gives `reward` at most `limit` for each transcript.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(reward: Arc<dyn Reward>, threads: usize, limit: Duration) -> std::io::Result<Self> {
        QUIET.call_once(keep_quiet);
        let (sender, results) = channel();
        let shared = Arc::new(Shared {
            reward,
            limit,
            results: sender,
            state: Mutex::new(State::default()),
            work: Condvar::new(),
        });
        let judge = Self { shared, results, limit, next: 0 };
        for _ in 0..threads.max(1) {
            judge.hire()?;
        }
        Ok(judge)
    }

    /// Queues a transcript; the ticket comes back with its score from [`drain`](Judge::drain).
    pub fn submit(&mut self, task: Arc<Task>, transcript: Transcript) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.shared.state().queue.push_back(Job { ticket, task, transcript });
        self.shared.work.notify_one();
        ticket
    }

    /// The scores that are ready, in no particular order; waits up to `patience` for the first.
    pub fn drain(&mut self, patience: Duration) -> Vec<(u64, Score)> {
        let mut scores = self.give_up();
        if scores.is_empty() {
            match self.results.recv_timeout(patience) {
                Ok(score) => scores.push(score),
                // The sender lives in `shared`, so it cannot be gone.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => scores = self.give_up(),
            }
        }
        scores.extend(self.results.try_iter());
        scores
    }

    /// Forgets everything queued, for a run that ends early. Tickets of it may still come back.
    pub fn clear(&mut self) {
        self.shared.state().queue.clear();
    }

    /// Fails the jobs that overran, replaces their threads, and fails what nobody is left to judge.
    fn give_up(&self) -> Vec<(u64, Score)> {
        let mut failed = Vec::new();
        let mut vacancies = 0;
        {
            let mut state = self.shared.state();
            let limit = self.limit;
            let overdue: Vec<u64> =
                state.running.iter().filter(|(_, start)| start.elapsed() > limit).map(|(&ticket, _)| ticket).collect();
            for ticket in overdue {
                // The thread notices on its return that its job is gone and ends.
                state.running.remove(&ticket);
                state.threads -= 1;
                state.stuck += 1;
                failed.push((ticket, Score::failed(overrun(limit))));
                if state.stuck < MOST_STUCK {
                    vacancies += 1;
                }
            }
        }
        for _ in 0..vacancies {
            // Without a thread there is one judge fewer; without any, the queue fails below.
            let _ = self.hire();
        }
        let mut state = self.shared.state();
        if state.threads == 0 && !state.queue.is_empty() {
            let stuck = state.stuck;
            failed.extend(state.queue.drain(..).map(|job| {
                let why = format!(
                    "not judged: {stuck} earlier rewards are stuck beyond their limit of {limit:?}",
                    limit = self.limit
                );
                (job.ticket, Score::failed(why))
            }));
        }
        failed
    }

    fn hire(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.shared.state().threads += 1;
        let hired = std::thread::Builder::new().name("reward".to_owned()).spawn(move || work(&shared));
        if hired.is_err() {
            self.shared.state().threads -= 1;
        }
        hired.map(drop)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let Job { ticket, task, transcript } = {
            let mut state = shared.state();
            loop {
                if state.closed {
                    return;
                }
                if let Some(job) = state.queue.pop_front() {
                    state.running.insert(job.ticket, Instant::now());
                    break job;
                }
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        JUDGING.set(true);
        let score = catch_unwind(AssertUnwindSafe(|| shared.reward.score(&task, &transcript)));
        JUDGING.set(false);
        let mut state = shared.state();
        let Some(start) = state.running.remove(&ticket) else {
            // Given up on meanwhile: another thread has this one's place. Where there was none left to
            // hire, this one goes back to work.
            state.stuck -= 1;
            if state.threads > 0 || state.closed {
                return;
            }
            state.threads += 1;
            continue;
        };
        drop(state);
        let score = match score {
            Ok(_) if start.elapsed() > shared.limit => Score::failed(overrun(shared.limit)),
            Ok(score) => finite(score),
            Err(panic) => {
                let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
                Score::failed(format!("the reward panicked{place}: {}", message(panic.as_ref())))
            }
        };
        if shared.results.send((ticket, score)).is_err() {
            return;
        }
    }
}

fn overrun(limit: Duration) -> String {
    format!("the reward took longer than its limit of {limit:?}")
}

/// `score`, or a failure where a number of it is not finite.
fn finite(score: Score) -> Score {
    if !score.value.is_finite() {
        return Score::failed(format!("reward: expected a finite value, got {}", score.value));
    }
    match score.parts.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Score::failed(format!("reward `{name}`: expected a finite value, got {value}")),
        None => score,
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
