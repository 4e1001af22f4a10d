//! One program in a box of its own.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::boxed::Boxed;
use super::meter::{Meter, Usage};
use super::plan::{Kind, Start};
use super::{Ending, Limits, Outcome, Unavailable};

/// What a program reads on standard input.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// This.
    Text(&'a [u8]),
    /// What RELIGN itself reads there.
    Ours,
}

/// How often a running program is looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// Decides when a program has used enough.
pub(super) struct Watch<'a> {
    limits: &'a Limits,
    start: Instant,
    awake: Instant,
    glanced: Instant,
    pub(super) peak_memory: u64,
    pub(super) cpu: Duration,
}

impl<'a> Watch<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        let now = Instant::now();
        Self { limits, start: now, awake: now, glanced: now, peak_memory: 0, cpu: Duration::ZERO }
    }

    pub(super) fn wall(&self) -> Duration {
        self.start.elapsed()
    }

    /// Looks at the boxes if it is time to, and says which limit is exceeded.
    pub(super) fn glance(&mut self, meters: &[&Meter]) -> Option<Ending> {
        let now = Instant::now();
        if now - self.glanced < GLANCE {
            return None;
        }
        let mut all = Usage::default();
        for usage in meters.iter().map(|meter| meter.read(self.limits.memory())) {
            all.cpu += usage.cpu;
            all.memory += usage.memory;
            all.processes = all.processes.max(usage.processes);
            all.runnable |= usage.runnable;
        }
        // Time in which it was seen to compute, or this thread could not look, is no idling.
        if all.runnable || all.cpu > self.cpu || now - self.glanced > 10 * GLANCE {
            self.awake = now;
        }
        self.glanced = now;
        self.cpu = self.cpu.max(all.cpu);
        self.peak_memory = self.peak_memory.max(all.memory);
        if all.cpu > self.limits.cpu() {
            Some(Ending::CpuTime)
        } else if all.memory > self.limits.memory() {
            Some(Ending::Memory)
        } else if all.processes > self.limits.processes.saturating_add(2) {
            Some(Ending::Processes)
        } else if now - self.awake > self.limits.idle() {
            Some(Ending::Idle)
        } else {
            (now - self.start > self.limits.wall()).then_some(Ending::WallTime)
        }
    }
}

/// Text as a file without a name, at its beginning. Nobody can change it or let it grow.
pub(super) fn text_file(text: &[u8]) -> Result<OwnedFd, Unavailable> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let mut file = std::fs::File::from(memfd_create(c"text", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(text)?;
    file.seek(SeekFrom::Start(0))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// A pipe and what came out of it so far.
pub(super) struct Heard {
    pipe: Option<std::fs::File>,
    pub(super) text: Vec<u8>,
    most: usize,
}

impl Heard {
    /// A pipe; its other end is to become a program's output.
    pub(super) fn new(most: usize) -> Result<(Self, OwnedFd), Unavailable> {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Ours alone does not wait; the flag of the other end is its own.
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
        Ok((Self { pipe: Some(ours.into()), text: Vec::new(), most }, theirs))
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there; `false` if that is more than allowed.
    pub(super) fn take(&mut self) -> bool {
        let mut block = [0; 16384];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut block) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = self.most - self.text.len();
                    self.text.extend_from_slice(&block[..n.min(room)]);
                    if n > room {
                        self.pipe = None;
                        return false;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        true
    }
}

/// Waits until one of `fds` can be read, or a glance is due.
pub(super) fn wait(fds: &[BorrowedFd<'_>]) {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: GLANCE.as_nanos() as i64 };
    // An interrupted wait is one that was short.
    let _ = poll(&mut polled, Some(&patience));
}

/// The ending that a wait status tells.
pub(super) fn ending(how: i32) -> Ending {
    if libc::WIFSIGNALED(how) { Ending::Signal(libc::WTERMSIG(how)) } else { Ending::Exit(libc::WEXITSTATUS(how)) }
}

/// Runs a program to its end, or to one of its limits. `start.fds` and `start.kind` are set here.
pub(super) fn run(mut start: Start<'_>, input: Input<'_>) -> Result<Outcome, Unavailable> {
    let limits = start.limits;
    let (mut stdout, out) = Heard::new(limits.output())?;
    let (mut stderr, err) = Heard::new(limits.output())?;
    let text;
    let stdin = std::io::stdin();
    let input = match input {
        Input::Text(bytes) => {
            text = text_file(bytes)?;
            text.as_fd()
        }
        Input::Ours => stdin.as_fd(),
    };
    let mut boxed = {
        start.kind = Kind::Watched;
        let mut start = Start { fds: vec![input, out.as_fd(), err.as_fd()], ..start };
        start.kind = Kind::Watched;
        Boxed::start(&start)?
    };
    drop((out, err));
    let meter = boxed.meter();
    let mut watch = Watch::new(limits);
    let mut stopped = None;
    while stopped.is_none() {
        let fds: Vec<BorrowedFd<'_>> = [stdout.fd(), stderr.fd(), boxed.status()].into_iter().flatten().collect();
        wait(&fds);
        let ended = boxed.status().is_none_or(readable);
        if !(stdout.take() && stderr.take()) {
            stopped = Some(Ending::Output);
        } else if ended {
            break;
        } else {
            stopped = watch.glance(&[&meter]);
        }
    }
    let wall = watch.wall();
    let end = if stopped.is_none() { boxed.end() } else { None };
    drop(boxed);
    // What lay in the pipes when it ended.
    let whole = stdout.take() & stderr.take();
    let (cpu, peak) = end.map_or((watch.cpu, 0), |end| (Duration::from_micros(end.cpu_micros), end.peak_memory));
    let cpu = cpu.max(watch.cpu);
    let ending = match (stopped, end) {
        (Some(why), _) => why,
        (None, Some(_)) if cpu > limits.cpu() => Ending::CpuTime,
        (None, Some(_)) if !whole => Ending::Output,
        (None, Some(end)) => ending(end.how),
        (None, None) => return Err(Unavailable::Broken("the first process of a box was killed".to_owned())),
    };
    Ok(Outcome {
        ending,
        cpu,
        wall,
        peak_memory: peak.max(watch.peak_memory),
        stdout: stdout.text,
        stderr: stderr.text,
    })
}

/// Whether there is something to read now.
pub(super) fn readable(fd: BorrowedFd<'_>) -> bool {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}
