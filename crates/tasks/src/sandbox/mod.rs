//! Running programs that nobody trusts.
//!
//! | file | does |
//! |---|---|
//! | `plan.rs` | what a box sees: mounts, identity, limits; made before the fork, so that nothing is allocated after it |
//! | `inside.rs` | the first steps of a box: namespaces, mounts, limits, seccomp, exec |
//! | `calls.rs` | the system calls a box may make |
//! | `boxed.rs` | a running box: started, watched, killed |
//! | `meter.rs` | CPU time, memory and processes of a box, read from outside |
//! | `run.rs` | one program in a box of its own |
//! | `pair.rs`, `pool.rs` | warm workers for Python: a fork server for solutions, and a tester in another box |
//! | `toolchains.rs`, `builds.rs` | interpreters and compilers; builds in a box, kept |
//! | `two.rs`, `rust.rs`, `javascript.rs` | tests and solution as two programs in two boxes |
//! | `shared.rs` | tests and solution as one program, where it cannot be two: C, Rust without a signature |
//! | `guest/` | what runs inside: the fork server, the tester, and how values get from one box to the other |
//!
//! A box is a process tree in user, mount, pid, network, IPC and UTS namespaces of its own. It sees the
//! system's programs read-only and an empty `/tmp` in memory; no home folder, no `/etc` but what the
//! loader needs, no network. It runs as an ordinary user without capabilities under `no_new_privs` and a
//! list of allowed system calls. Its first process dies with RELIGN, and the kernel ends the rest with it.

use std::time::Duration;

use relign_core::bounds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod boxed;
mod builds;
mod calls;
mod inside;
mod javascript;
mod meter;
mod pair;
mod plan;
mod pool;
mod run;
mod rust;
mod shared;
mod toolchains;
mod two;

pub use pool::{Judged, Sandbox, Tests};
pub use run::Input;
pub use toolchains::Language;

/// What a program may use. CPU time decides whether it took too long, so that a busy machine changes
/// no score; the two waits are there for programs that use none.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds of CPU time, of all its processes together.
    pub cpu_seconds: f64,
    /// Seconds during which it may wait for nothing: asleep, or stuck.
    pub idle_seconds: f64,
    /// Megabytes of memory; each process is held to it at once, all together within a moment.
    pub memory_mb: u64,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Kilobytes of each of standard output and error; a program that says more is ended.
    pub output_kb: u64,
    /// Megabytes of files in its `/tmp`.
    pub disk_mb: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_seconds: 3.0, idle_seconds: 3.0, memory_mb: 512, processes: 32, output_kb: 1024, disk_mb: 64 }
    }
}

impl Limits {
    /// The setting that no program could run under, if there is one, with what was expected.
    #[must_use]
    pub fn complaint(&self) -> Option<(&'static str, String)> {
        let seconds = |name, value: f64| {
            (!(0.01..=86_400.0).contains(&value))
                .then(|| (name, format!("expected 0.01 to 86400 seconds, got {value}")))
        };
        let at_least = |name, value: u64, least: u64| {
            let most = bounds::most(name).unwrap_or(u64::MAX);
            (value < least || value > most).then(|| (name, format!("expected {least} to {most}, got {value}")))
        };
        seconds("cpu_seconds", self.cpu_seconds)
            .or_else(|| seconds("idle_seconds", self.idle_seconds))
            .or_else(|| at_least("memory_mb", self.memory_mb, 32))
            .or_else(|| at_least("processes", u64::from(self.processes), 1))
            .or_else(|| at_least("output_kb", self.output_kb, 1))
            .or_else(|| at_least("disk_mb", self.disk_mb, 1))
    }

    fn cpu(&self) -> Duration {
        Duration::from_secs_f64(self.cpu_seconds)
    }

    fn idle(&self) -> Duration {
        Duration::from_secs_f64(self.idle_seconds)
    }

    /// The backstop: no program takes this long on a machine that works.
    fn wall(&self) -> Duration {
        Duration::from_secs_f64(10.0 + self.idle_seconds + 20.0 * self.cpu_seconds)
    }

    fn memory(&self) -> u64 {
        self.memory_mb << 20
    }

    fn output(&self) -> usize {
        usize::try_from(self.output_kb << 10).unwrap_or(usize::MAX)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By itself, with this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It used up its CPU time.
    CpuTime,
    /// It waited for nothing.
    Idle,
    /// It took longer than any program does, though it neither computed nor slept for long.
    WallTime,
    /// Its processes together used more memory than allowed.
    Memory,
    /// It had more processes than allowed.
    Processes,
    /// It said more than allowed; what it said is cut.
    Output,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::CpuTime => f.write_str("more CPU time than allowed"),
            Self::Idle => f.write_str("waited for nothing"),
            Self::WallTime => f.write_str("took far too long"),
            Self::Memory => f.write_str("more memory than allowed"),
            Self::Processes => f.write_str("more processes than allowed"),
            Self::Output => f.write_str("more output than allowed"),
        }
    }
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// CPU time of all its processes, as far as they were waited for or seen.
    pub cpu: Duration,
    /// From its start to its end.
    pub wall: Duration,
    /// The most memory seen, in bytes.
    pub peak_memory: u64,
    /// What it wrote on standard output, cut at the limit.
    pub stdout: Vec<u8>,
    /// What it wrote on standard error, cut at the limit.
    pub stderr: Vec<u8>,
}

/// Why a program was not run: a matter of this machine or of its settings, never of the program.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Isolation cannot be set up.
    #[error(
        "no isolation for programs: {step} failed: {error}; {advice}; only `unsafe_no_sandbox = true` runs them as they are"
    )]
    Isolation {
        /// What failed.
        step: &'static str,
        /// The system's words.
        error: std::io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// An interpreter or a compiler is missing.
    #[error("{language}: {why}")]
    Toolchain {
        /// The language.
        language: Language,
        /// What was looked for and what was found.
        why: String,
    },
    /// The sandbox broke.
    #[error("the sandbox failed: {0}")]
    Broken(String),
}

impl From<std::io::Error> for Unavailable {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<rustix::io::Errno> for Unavailable {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Broken(std::io::Error::from(error).to_string())
    }
}
