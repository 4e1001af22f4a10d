//! Python that users wrote, in processes of its own.
//!
//! A `Python` keeps a few workers: processes that loaded one object and answer calls, one at a time each. A worker
//! that crashes, hangs or breaks its pipe is ended and replaced with the next call; the call that it happened to fails.
//! Workers end with this process, however that ends.

mod process;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relign_core::ConfigError;
use serde::Serialize;
use serde_json::{Map, Value, json};

use process::Process;

/// Starts that fail one after the other, after which no further one is tried.
const MOST_FAILED: u32 = 3;

/// The Python that runs it: `RELIGN_PYTHON`, else the active virtual environment's, else `python3`.
#[must_use]
pub fn interpreter() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RELIGN_PYTHON")
        .or_else(|| set("VIRTUAL_ENV").map(|folder| folder.join("bin/python")))
        .unwrap_or_else(|| PathBuf::from("python3"))
}

/// What is loaded and within which bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loading {
    /// `PATH.py:NAME` or `MODULE:NAME`.
    pub(crate) object: String,
    /// Given, the object is called with them once and what it returns is used.
    pub(crate) arguments: Option<Map<String, Value>>,
    /// An environment is wanted, with this share of its rows held out where it holds out none itself.
    pub(crate) environment: Option<f64>,
    /// How long one call may take.
    pub(crate) limit: Duration,
    /// How long loading may take.
    pub(crate) start_limit: Duration,
    /// Processes at once; 0 for as many as there are cores.
    pub(crate) workers: usize,
    /// Where what they print goes; nowhere if empty.
    pub(crate) log: PathBuf,
    /// The Python that runs it; [`interpreter`] if empty.
    pub(crate) python: PathBuf,
}

impl Loading {
    /// Where the object is: a file (`true`) or a module, and its name there.
    ///
    /// # Errors
    /// If `object` has another form.
    pub(crate) fn parts(&self) -> Result<(&str, bool, &str), ConfigError> {
        let parts = self.object.rsplit_once(':').filter(|(place, name)| !place.is_empty() && !name.is_empty());
        let (place, name) = parts.ok_or_else(|| {
            let got = &self.object;
            ConfigError::at("", format!("expected PATH.py:NAME or MODULE:NAME, got `{got}`"))
        })?;
        Ok((place, place.ends_with(".py") || place.contains('/'), name))
    }
}

/// The workers of one object.
#[derive(Debug)]
pub(crate) struct Python {
    loading: Loading,
    state: Mutex<State>,
    /// A worker is free, or there is room for another.
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: VecDeque<Process>,
    /// Workers at work or starting.
    busy: usize,
    /// Starts that failed since one succeeded, and the last one's error.
    failed: u32,
    error: String,
}

impl Python {
    pub(crate) fn new(mut loading: Loading) -> Self {
        if loading.workers == 0 {
            loading.workers = std::thread::available_parallelism().map_or(1, usize::from);
        }
        Self { loading, state: Mutex::default(), free: Condvar::new() }
    }

    /// The longest that one call takes: a wait for a worker, its start and the call.
    pub(crate) fn waits(&self) -> Duration {
        2 * (self.loading.limit + self.loading.start_limit)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker where none is, so that what cannot be loaded is said now.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        self.take().map(drop)
    }

    /// The answer to `call`.
    ///
    /// # Errors
    /// What the object said, or what became of its worker.
    pub(crate) fn call(&self, call: &impl Serialize) -> Result<Value, String> {
        let mut worker = self.take()?;
        let Some(process) = &mut worker.process else { return Err(self.told("no worker")) };
        match process.ask(call, self.loading.limit) {
            Ok(mut answer) => match answer.get_mut("error").map(Value::take) {
                Some(Value::String(error)) => Err(self.told(&error)),
                _ => Ok(answer),
            },
            Err(broken) => {
                // Dropped, it is ended; the next call starts another.
                worker.process = None;
                Err(self.told(&broken))
            }
        }
    }

    fn told(&self, error: &str) -> String {
        format!("{}: {error}", self.loading.object)
    }

    /// A worker that is free, or a new one.
    fn take(&self) -> Result<Worker<'_>, String> {
        let patience = Instant::now() + self.loading.limit + self.loading.start_limit;
        let mut state = self.state();
        while state.idle.is_empty() && state.busy >= self.loading.workers {
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let workers = self.loading.workers;
                return Err(self.told(&format!("expected one of {workers} workers to be free in time, none was")));
            }
            state = self.free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(process) = state.idle.pop_front() {
            state.busy += 1;
            return Ok(Worker { python: self, process: Some(process) });
        }
        if state.failed >= MOST_FAILED {
            return Err(format!("{} (not tried again after {MOST_FAILED} starts that failed)", state.error));
        }
        state.busy += 1;
        drop(state);
        // From here on the place is given back by dropping it.
        let mut worker = Worker { python: self, process: None };
        let started = self.start();
        let mut state = self.state();
        match started {
            Ok(process) => {
                state.failed = 0;
                drop(state);
                worker.process = Some(process);
                Ok(worker)
            }
            Err(error) => {
                state.failed += 1;
                state.error.clone_from(&error);
                drop(state);
                Err(error)
            }
        }
    }

    fn start(&self) -> Result<Process, String> {
        let (place, is_file, name) = self.loading.parts().map_err(|error| error.to_string())?;
        let first = json!({
            "where": place, "is_file": is_file, "name": name, "arguments": self.loading.arguments,
            "is_environment": self.loading.environment.is_some(), "held_out": self.loading.environment,
        });
        let python = Some(self.loading.python.clone()).filter(|python| !python.as_os_str().is_empty());
        let python = python.unwrap_or_else(interpreter);
        Process::start(&python, &first, self.loading.start_limit, &self.loading.log).map_err(|error| self.told(&error))
    }
}

/// A worker taken from the pool; it goes back when dropped.
struct Worker<'a> {
    python: &'a Python,
    process: Option<Process>,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut state = self.python.state();
        state.busy -= 1;
        state.idle.extend(self.process.take());
        drop(state);
        self.python.free.notify_one();
    }
}
