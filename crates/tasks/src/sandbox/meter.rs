//! What a box uses, read from outside.

use std::cell::Cell;
use std::time::Duration;

/// Which processes are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// All in the box of which this is the first process, by its number outside.
    Box(i32),
    /// All in the session of this one: without a box there is no better bound.
    Session(i32),
}

/// Reads what the processes of a box use.
#[derive(Debug)]
pub(super) struct Meter {
    scope: Scope,
    /// Ticks that earlier programs in the same box took; not yet known where the next one has just begun.
    before: Cell<Option<u64>>,
}

/// What a box uses at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time of the processes that are there and of those they waited for.
    pub(super) cpu: Duration,
    /// Bytes in memory; pages that processes share count once.
    pub(super) memory: u64,
    /// Processes beside the first.
    pub(super) processes: u32,
    /// Whether one of them could go on if it got a core.
    pub(super) runnable: bool,
}

struct Stat {
    state: u8,
    session: i32,
    own: u64,
    waited: u64,
    threads: u64,
    pages: u64,
}

impl Meter {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, before: Cell::new(Some(0)) }
    }

    /// Forgets what was used so far: the next program begins. Most end before anybody looks, so what the first process
    /// used before is only read at the first look. What a program uses is no part of that until it has ended; a first
    /// process that works itself is credited with what it did until then, and says in the end what it really used.
    pub(super) fn restart(&self) {
        self.before.set(None);
    }

    fn folder(&self) -> String {
        match self.scope {
            Scope::Box(pid) => format!("/proc/{pid}/root/proc"),
            Scope::Session(_) => "/proc".to_owned(),
        }
    }

    fn first(&self) -> Option<Stat> {
        let (Scope::Box(pid) | Scope::Session(pid)) = self.scope;
        stat(&format!("/proc/{pid}/stat"))
    }

    /// The numbers of all processes but the first, as `folder` names them.
    fn members(&self) -> Vec<(i32, Stat)> {
        let folder = self.folder();
        let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
        let number = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
        entries
            .filter_map(number)
            .filter_map(|pid| Some((pid, stat(&format!("{folder}/{pid}/stat"))?)))
            .filter(|(pid, stat)| match self.scope {
                Scope::Box(_) => *pid != 1,
                Scope::Session(first) => *pid != first && stat.session == first,
            })
            .collect()
    }

    /// What is used now. `limit` bytes of memory are looked at closely only when they seem to be exceeded.
    pub(super) fn read(&self, limit: u64) -> Usage {
        let first = self.first();
        let mut usage = Usage::default();
        let mut ticks = first.as_ref().map_or(0, |first| first.waited + first.own);
        let before = self.before.get().unwrap_or(ticks);
        self.before.set(Some(before));
        usage.runnable = first.is_some_and(|first| first.state == b'R');
        let page = rustix::param::page_size() as u64;
        let members = self.members();
        for (_, stat) in &members {
            ticks += stat.own + stat.waited;
            usage.memory += stat.pages * page;
            usage.processes += u32::try_from(stat.threads).unwrap_or(u32::MAX).max(1);
            // D waits for the disk: that is work, too.
            usage.runnable |= matches!(stat.state, b'R' | b'D');
        }
        if usage.memory > limit {
            usage.memory = members.iter().map(|(pid, _)| shared_out(&self.folder(), *pid)).sum();
        }
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        usage.cpu = Duration::from_nanos(ticks.saturating_sub(before) * tick);
        usage
    }

    /// Kills all but the first, where no box does that; in a box it would be the wrong numbers.
    pub(super) fn kill(&self) {
        if let Scope::Session(_) = self.scope {
            for (pid, _) in self.members() {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

/// Bytes of a process, each page divided by how many share it.
fn shared_out(folder: &str, pid: i32) -> u64 {
    let sums = std::fs::read_to_string(format!("{folder}/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = sums.lines().find_map(|line| line.strip_prefix("Pss:"));
    pss.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// See proc_pid_stat(5).
fn stat(path: &str) -> Option<Stat> {
    let text = std::fs::read_to_string(path).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        session: fields.get(3)?.parse().ok()?,
        own: number(14)? + number(15)?,
        waited: number(16)? + number(17)?,
        threads: number(20)?,
        pages: number(24)?,
    })
}
