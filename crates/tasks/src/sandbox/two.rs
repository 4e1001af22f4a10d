//! Two programs in two boxes: tests that ask, and a solution that answers.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::boxed::Boxed;
use super::plan::{Kind, Start};
use super::pool::Judged;
use super::run::{Heard, Watch, ending, readable, wait};
use super::{Ending, Unavailable};

/// Runs both, joined by a socket at descriptor 3 of each, until the tests end: with status 0 where all passed.
pub(super) fn two(tests: Start<'_>, solution: Start<'_>) -> Result<Judged, Unavailable> {
    let limits = tests.limits;
    let (asks, answers) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let (mut words, stderr) = Heard::new(limits.output())?;
    let null = null.as_fd();
    let start = |start: Start<'_>, stderr: BorrowedFd<'_>, line: BorrowedFd<'_>| {
        Boxed::start(&Start { fds: vec![null, null, stderr, line], kind: Kind::Watched, ..start })
    };
    let answering = start(solution, null, answers.as_fd())?;
    let mut asking = start(tests, stderr.as_fd(), asks.as_fd())?;
    drop((asks, answers, stderr));
    let meters = [asking.meter(), answering.meter()];
    let mut watch = Watch::new(limits);
    loop {
        let fds: Vec<BorrowedFd<'_>> = [words.fd(), asking.status()].into_iter().flatten().collect();
        wait(&fds);
        let ended = asking.status().is_none_or(readable);
        // Tests may say what they like; it is cut.
        words.take();
        if ended {
            break;
        }
        if let Some(ending) = watch.glance(&[&meters[0], &meters[1]]) {
            return Ok(Judged::Stopped(ending));
        }
    }
    words.take();
    let spent = meters[1].read(u64::MAX).cpu;
    let Some(end) = asking.end() else {
        return Err(Unavailable::Broken("the first process of the tests' box was killed".to_owned()));
    };
    if spent + Duration::from_micros(end.cpu_micros) > limits.cpu() {
        return Ok(Judged::Stopped(Ending::CpuTime));
    }
    match ending(end.how) {
        Ending::Exit(0) => Ok(Judged::Passed),
        other => Ok(Judged::Wrong(format!("{}{other}", told(&words.text)))),
    }
}

/// The first words of a complaint.
pub(super) fn told(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(4).collect();
    let words: String = lines.join(" ").chars().take(400).collect();
    if words.is_empty() { words } else { format!("{words}; ") }
}
