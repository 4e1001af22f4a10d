//! Rewards on threads of their own, under a time limit.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use relign_core::{Reward, Score, Spent, Task, Transcript};

/// Threads that are stuck in a reward at once before further samples fail without being tried.
const MOST_STUCK: usize = 64;

/// Scores transcripts on a pool of threads.
///
/// A reward that panics, overruns the limit or returns a number that is not finite or beyond [`Score::MOST`] yields
/// [`Verdict::Failed`](relign_core::Verdict::Failed) for its sample and harms nothing else. Rust cannot
/// end a thread from outside: one that overruns is left behind and replaced, so it costs its core
/// until it returns, but blocks neither the run nor its exit.
///
/// A reward that waits for others and bounds that itself ([`RewardNeeds::waits`](relign_core::RewardNeeds::waits)) has
/// that time on top of the limit, and as many threads as it asks for. One that wants the answers to a task together
/// gets them in one call, whose limit is the sum of theirs.
pub struct Judge {
    shared: Arc<Shared>,
    results: Receiver<(u64, Score)>,
    group: bool,
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
    /// Jobs being worked on, by their first ticket.
    running: HashMap<u64, Running>,
    /// Threads ready to work or working within the limit.
    threads: usize,
    /// Threads left behind in a reward that overran.
    stuck: usize,
    closed: bool,
}

/// Transcripts with tickets that follow one another, judged in one call.
struct Job {
    first: u64,
    task: Arc<Task>,
    transcripts: Vec<Transcript>,
}

impl Job {
    fn failed(&self, why: &str) -> impl Iterator<Item = (u64, Score)> {
        failed(self.first, self.transcripts.len(), why)
    }
}

/// The place of a job at work.
struct Running {
    start: Instant,
    transcripts: usize,
}

fn failed(first: u64, transcripts: usize, why: &str) -> impl Iterator<Item = (u64, Score)> {
    (first..first + transcripts as u64).map(move |ticket| (ticket, Score::failed(why)))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned one would still hold whole jobs.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a job of so many transcripts may take.
    fn limit_of(&self, transcripts: usize) -> Duration {
        self.limit.saturating_mul(u32::try_from(transcripts).unwrap_or(u32::MAX))
    }
}

impl Judge {
    /// A pool of `threads` (at least 1) or as many as `reward` asks for, that gives it at most `limit` for each
    /// transcript, besides what it waits for others.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(reward: Arc<dyn Reward>, threads: usize, limit: Duration) -> std::io::Result<Self> {
        QUIET.call_once(keep_quiet);
        let (sender, results) = channel();
        let needs = reward.needs();
        let limit = limit.saturating_add(needs.waits);
        let shared = Arc::new(Shared {
            reward,
            limit,
            results: sender,
            state: Mutex::new(State::default()),
            work: Condvar::new(),
        });
        let judge = Self { shared, results, group: needs.group, next: 0 };
        for _ in 0..threads.max(needs.at_once).max(1) {
            judge.hire()?;
        }
        Ok(judge)
    }

    /// Queues a transcript; the ticket comes back with its score from [`drain`](Judge::drain).
    pub fn submit(&mut self, task: Arc<Task>, transcript: Transcript) -> u64 {
        self.submit_group(task, vec![transcript])
    }

    /// Queues answers to one task that are to be judged together. Their tickets follow one another; the first is
    /// returned.
    pub fn submit_group(&mut self, task: Arc<Task>, transcripts: Vec<Transcript>) -> u64 {
        let first = self.next;
        if transcripts.is_empty() {
            return first;
        }
        self.next += transcripts.len() as u64;
        self.shared.state().queue.push_back(Job { first, task, transcripts });
        self.shared.work.notify_one();
        first
    }

    /// Whether the reward wants the answers to a task together.
    #[must_use]
    pub fn wants_groups(&self) -> bool {
        self.group
    }

    /// What the reward asked of others so far.
    #[must_use]
    pub fn spent(&self) -> Option<Spent> {
        self.shared.reward.spent()
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
        let mut failures = Vec::new();
        let mut vacancies = 0;
        {
            let mut state = self.shared.state();
            let overdue: Vec<u64> = state
                .running
                .iter()
                .filter(|(_, job)| job.start.elapsed() > self.shared.limit_of(job.transcripts))
                .map(|(&first, _)| first)
                .collect();
            for first in overdue {
                // The thread notices on its return that its job is gone and ends.
                let Some(job) = state.running.remove(&first) else { continue };
                state.threads -= 1;
                state.stuck += 1;
                failures.extend(failed(first, job.transcripts, &overrun(self.shared.limit_of(job.transcripts))));
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
            let why = format!(
                "not judged: {} earlier rewards are stuck beyond their limit of {:?}",
                state.stuck, self.shared.limit
            );
            failures.extend(state.queue.drain(..).flat_map(|job| job.failed(&why).collect::<Vec<_>>()));
        }
        failures
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
        let job = {
            let mut state = shared.state();
            loop {
                if state.closed {
                    return;
                }
                if let Some(job) = state.queue.pop_front() {
                    let running = Running { start: Instant::now(), transcripts: job.transcripts.len() };
                    state.running.insert(job.first, running);
                    break job;
                }
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        JUDGING.set(true);
        let scores = catch_unwind(AssertUnwindSafe(|| match &job.transcripts[..] {
            [one] => vec![shared.reward.score(&job.task, one)],
            several => shared.reward.score_group(&job.task, several),
        }));
        JUDGING.set(false);
        let mut state = shared.state();
        let Some(running) = state.running.remove(&job.first) else {
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
        let (limit, wanted) = (shared.limit_of(running.transcripts), running.transcripts);
        let why = match scores {
            Ok(_) if running.start.elapsed() > limit => overrun(limit),
            Ok(scores) if scores.len() == wanted => {
                for (ticket, score) in (job.first..).zip(scores) {
                    if shared.results.send((ticket, score.bounded())).is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(scores) => format!("the reward: expected {wanted} scores, one for each answer, got {}", scores.len()),
            Err(panic) => {
                let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
                format!("the reward panicked{place}: {}", message(panic.as_ref()))
            }
        };
        for score in job.failed(&why) {
            if shared.results.send(score).is_err() {
                return;
            }
        }
    }
}

fn overrun(limit: Duration) -> String {
    format!("the reward took longer than its limit of {limit:?}")
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
