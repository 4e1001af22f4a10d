//! Warm workers for Python: a fork server in one box, a tester in another.
//!
//! The server forks a process for each solution. The tester runs the tests, and a call of the solution is a
//! question to the solution's process: expected values, asserts and the verdict never are where a solution is.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;

use super::boxed::Boxed;
use super::meter::Meter;
use super::plan::{Kind, MemoryLimit, Start};
use super::run::{Heard, Watch, ending, text_file, wait};
use super::toolchains::Tool;
use super::{Ending, Limits, Outcome, Unavailable};

const SERVER: &str = concat!(include_str!("guest/wire.py"), "\n\n", include_str!("guest/server.py"));
const TESTER: &str = concat!(include_str!("guest/wire.py"), "\n\n", include_str!("guest/tester.py"));

/// How long a solution may take to end once its verdict is known.
const GRACE: Duration = Duration::from_millis(500);

/// What the tester is told.
#[derive(Serialize)]
pub(super) struct Spec<'a> {
    pub(super) prefix: &'a str,
    pub(super) entry_point: &'a str,
    pub(super) tests: &'a str,
}

/// What the tester says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Passed,
    Wrong(String),
    /// The solution is no program of the language.
    NoProgram(String),
    /// The tests cannot be run.
    Unfit(String),
}

/// A Python process in a box, waiting for work on a socket.
struct Worker {
    /// What the process itself says and hears.
    control: OwnedFd,
    /// Work, which the fork server's waiting child takes: the server never sees it.
    jobs: OwnedFd,
    meter: Meter,
    /// Ends with the worker.
    _boxed: Boxed,
}

impl Worker {
    fn new(tool: &Tool, script: &str, limits: &Limits, isolated: bool) -> Result<Self, Unavailable> {
        let pair = || rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let ((control, theirs), (jobs, work)) = (pair()?, pair()?);
        let null = nothing()?;
        let (mut complaints, stderr) = Heard::new(4096)?;
        let start = Start {
            program: &tool.program,
            args: ["-s", "-c", script].map(Into::into).into(),
            env: vec![("PYTHONHASHSEED", "0".into()), ("PYTHONDONTWRITEBYTECODE", "1".into())],
            binds: tool.binds.clone(),
            folder: "/tmp",
            limits,
            memory: MemoryLimit::Space,
            own_limits: false,
            fds: vec![null.as_fd(), null.as_fd(), stderr.as_fd(), theirs.as_fd(), work.as_fd()],
            kind: Kind::First,
            isolated,
        };
        let boxed = Boxed::start(&start)?;
        drop((theirs, work, stderr));
        let worker = Self { control, jobs, meter: boxed.meter(), _boxed: boxed };
        let mut watch = Watch::new(limits);
        let mut ready = None;
        while ready.is_none() {
            wait(&[worker.control.as_fd()]);
            ready = worker.receive()?;
            if watch.wall() > Duration::from_secs(30) || ready.as_ref().is_some_and(Vec::is_empty) {
                complaints.take();
                let words = String::from_utf8_lossy(&complaints.text).trim().to_owned();
                return Err(Unavailable::Broken(format!(
                    "{} did not start in its box: {words}",
                    tool.program.display()
                )));
            }
            let _ = watch.glance(&[]);
        }
        Ok(worker)
    }

    fn give(&self, job: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Unavailable> {
        self.meter.restart();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut extra = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !extra.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Unavailable::Broken("too many files for one message".to_owned()));
        }
        rustix::net::sendmsg(&self.jobs, &[IoSlice::new(job)], &mut extra, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// A message if there is one; an empty one if the worker is gone.
    fn receive(&self) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut block = vec![0; 8192];
        match rustix::net::recv(&self.control, block.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                block.truncate(length);
                Ok(Some(block))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(rustix::io::Errno::CONNRESET) => Ok(Some(Vec::new())),
            Err(error) => Err(error.into()),
        }
    }
}

/// A fork server and, once it is needed, a tester.
pub(super) struct Pair {
    server: Worker,
    tester: Option<Worker>,
    /// Whether both wait for work.
    healthy: bool,
}

/// The server's last word on a solution's process.
struct Ended {
    how: i32,
    cpu_micros: u64,
    peak_memory: u64,
    /// Whether nothing of it is left.
    clean: bool,
}

fn ended(message: &[u8]) -> Option<Ended> {
    // A wait status, `struct rusage` (user time, system time, most memory in kilobytes, ...), whether nothing is left.
    let words: Vec<u64> =
        message.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?))).collect();
    let [how, user, user_micros, system, system_micros, kilobytes, .., clean] = words[..] else { return None };
    Some(Ended {
        how: i32::try_from(how).ok()?,
        cpu_micros: (user + system) * 1_000_000 + user_micros + system_micros,
        peak_memory: kilobytes << 10,
        clean: clean != 0,
    })
}

/// `/dev/null`, opened anew: what a program sets on an open file stays set for all that share it.
fn nothing() -> Result<OwnedFd, Unavailable> {
    Ok(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}

fn broken<T>(what: &str) -> Result<T, Unavailable> {
    Err(Unavailable::Broken(what.to_owned()))
}

impl Pair {
    pub(super) fn new(tool: &Tool, limits: &Limits, isolated: bool) -> Result<Self, Unavailable> {
        Ok(Self { server: Worker::new(tool, SERVER, limits, isolated)?, tester: None, healthy: true })
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy
    }

    fn request(mode: u8, text: &str, limits: &Limits) -> Result<[u8; 13], Unavailable> {
        let length = u32::try_from(text.len()).map_err(|_| {
            Unavailable::Broken(format!("expected a program of less than 4 GB, got {} bytes", text.len()))
        })?;
        let mut message = [mode; 13];
        message[1..5].copy_from_slice(&length.to_le_bytes());
        message[5..9].copy_from_slice(&(limits.cpu_seconds.ceil() as i32 + 1).to_le_bytes());
        // The server counts, too.
        message[9..].copy_from_slice(&limits.processes.saturating_add(1).to_le_bytes());
        Ok(message)
    }

    /// Runs a whole program.
    pub(super) fn program(&mut self, text: &str, input: &[u8], limits: &Limits) -> Result<Outcome, Unavailable> {
        self.healthy = false;
        let (mut stdout, out) = Heard::new(limits.output())?;
        let (mut stderr, err) = Heard::new(limits.output())?;
        let request = Self::request(b'P', text, limits)?;
        let text = text_file(text.as_bytes())?;
        let input = if input.is_empty() { nothing()? } else { text_file(input)? };
        let fds = [text.as_fd(), input.as_fd(), out.as_fd(), err.as_fd()];
        self.server.give(&request, &fds)?;
        drop((out, err, text, input));
        let mut watch = Watch::new(limits);
        let mut stopped = None;
        let end = loop {
            let fds: Vec<BorrowedFd<'_>> =
                [stdout.fd(), stderr.fd(), Some(self.server.control.as_fd())].into_iter().flatten().collect();
            wait(&fds);
            let message = self.server.receive()?;
            if !(stdout.take() && stderr.take()) {
                stopped = Some(Ending::Output);
            } else if let Some(message) = message {
                break ended(&message);
            } else {
                stopped = watch.glance(&[&self.server.meter]);
            }
            if stopped.is_some() {
                break None;
            }
        };
        if end.is_none() && stopped.is_none() {
            return broken("the fork server ended");
        }
        self.healthy = end.as_ref().is_some_and(|end| end.clean);
        let whole = stdout.take() & stderr.take();
        let (spent, peak) = end.as_ref().map_or((0, 0), |end| (end.cpu_micros, end.peak_memory));
        let cpu = Duration::from_micros(spent).max(watch.cpu);
        let ending = match (stopped, end) {
            (Some(why), _) => why,
            _ if cpu > limits.cpu() => Ending::CpuTime,
            _ if !whole => Ending::Output,
            (None, end) => ending(end.map_or(0, |end| end.how)),
        };
        let (wall, peak_memory) = (watch.wall(), peak.max(watch.peak_memory));
        Ok(Outcome { ending, cpu, wall, peak_memory, stdout: stdout.text, stderr: stderr.text })
    }

    /// Runs tests on a solution: the tester's word, or the limit that the solution exceeded.
    pub(super) fn test(
        &mut self,
        tool: &Tool,
        isolated: bool,
        solution: &str,
        spec: &Spec<'_>,
        limits: &Limits,
    ) -> Result<Result<Word, Ending>, Unavailable> {
        self.healthy = false;
        let tester = match &mut self.tester {
            Some(tester) => tester,
            none => none.insert(Worker::new(tool, TESTER, limits, isolated)?),
        };
        let spec = serde_json::to_vec(spec).map_err(|error| Unavailable::Broken(error.to_string()))?;
        let request = Self::request(b'C', solution, limits)?;
        let (solution, spec) = (text_file(solution.as_bytes())?, text_file(&spec)?);
        let (asks, answers) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let null = nothing()?;
        let null = null.as_fd();
        self.server.give(&request, &[solution.as_fd(), null, null, null, answers.as_fd()])?;
        tester.give(b"T", &[spec.as_fd(), asks.as_fd()])?;
        drop((asks, answers, solution, spec));
        let mut watch = Watch::new(limits);
        let (mut word, mut end, mut told) = (None, None, Duration::ZERO);
        while word.is_none() || end.is_none() {
            let (server, tester) = (&self.server, &*tester);
            let fds: Vec<BorrowedFd<'_>> = [(&word, tester)]
                .iter()
                .filter(|(word, _)| word.is_none())
                .map(|(_, tester)| tester.control.as_fd())
                .chain(end.is_none().then(|| server.control.as_fd()))
                .collect();
            wait(&fds);
            if word.is_none()
                && let Some(message) = tester.receive()?
            {
                let said: Option<(String, String, u64)> = serde_json::from_slice(&message).ok();
                let Some(said) = said else { return broken("the tester ended") };
                word = Some(said);
                told = watch.wall();
            }
            if end.is_none()
                && let Some(message) = server.receive()?
            {
                let Some(said) = ended(&message) else {
                    return if word.is_some() {
                        broken("the fork server ended")
                    } else {
                        broken("the fork server died")
                    };
                };
                end = Some(said);
            }
            if let Some(ending) = watch.glance(&[&server.meter, &tester.meter]) {
                // What comes after the verdict is no matter of the solution's right or wrong.
                if word.is_none() {
                    return Ok(Err(ending));
                }
                break;
            }
            // The verdict stands. A solution that does not end when nobody asks any more takes its worker along.
            if word.is_some() && watch.wall() - told > GRACE {
                break;
            }
        }
        self.healthy = end.as_ref().is_some_and(|end| end.clean);
        let Some((verdict, why, tester_micros)) = word else { return broken("the tester said nothing") };
        let spent = Duration::from_micros(end.map_or(0, |end| end.cpu_micros) + tester_micros);
        if spent.max(watch.cpu) > limits.cpu() {
            return Ok(Err(Ending::CpuTime));
        }
        match verdict.as_str() {
            "passed" => Ok(Ok(Word::Passed)),
            "wrong" => Ok(Ok(Word::Wrong(why))),
            "no program" => Ok(Ok(Word::NoProgram(why))),
            _ => Ok(Ok(Word::Unfit(why))),
        }
    }
}
