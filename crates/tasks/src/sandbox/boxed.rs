//! A running box: started, asked how much it used, killed.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::Unavailable;
use super::inside::{REPORT, STEPS, enter};
use super::meter::{Meter, Scope};
use super::plan::{Kind, Plan, Start};

/// A process tree in namespaces of its own. Dropped, it is gone: killed and waited for.
#[derive(Debug)]
pub(super) struct Boxed {
    pid: Pid,
    isolated: bool,
    status: Option<OwnedFd>,
}

/// How a watched program ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) how: i32,
    pub(super) cpu_micros: u64,
    pub(super) peak_memory: u64,
}

impl Boxed {
    /// Starts a program in a box of its own.
    pub(super) fn start(start: &Start<'_>) -> Result<Self, Unavailable> {
        let plan = Plan::new(start)?;
        // A child is told of the death of the thread that made it; this one lives as long as the process.
        let (reply, started) = channel();
        let job = Box::new(move || drop(reply.send(spawn(&plan))));
        starter().send(job).map_err(|_| Unavailable::Broken("the thread that starts boxes is gone".to_owned()))?;
        started.recv().map_err(|_| Unavailable::Broken("the thread that starts boxes is gone".to_owned()))?
    }

    pub(super) fn meter(&self) -> Meter {
        let pid = self.pid.as_raw_nonzero().get();
        Meter::new(if self.isolated { Scope::Box(pid) } else { Scope::Session(pid) })
    }

    /// Readable once a watched program has ended.
    pub(super) fn status(&self) -> Option<BorrowedFd<'_>> {
        self.status.as_ref().map(AsFd::as_fd)
    }

    /// How a watched program ended; nothing if its first process was killed before it could tell.
    pub(super) fn end(&mut self) -> Option<End> {
        let mut bytes = [0; REPORT];
        std::fs::File::from(self.status.take()?).read_exact(&mut bytes).ok()?;
        let mut words = bytes.chunks_exact(8).map(|word| i64::from_ne_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().unwrap_or_default();
        let (how, user, system, kilobytes) = (next(), next(), next(), next());
        let plain = |number: i64| u64::try_from(number).unwrap_or_default();
        Some(End { how: how as i32, cpu_micros: plain(user + system), peak_memory: plain(kilobytes) << 10 })
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        if !self.isolated {
            self.meter().kill();
        }
        // It may have ended by itself; until it is waited for, its number is nobody else's.
        let _ = kill_process(self.pid, Signal::KILL);
        while matches!(waitpid(Some(self.pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }
}

type Job = Box<dyn FnOnce() + Send>;

fn starter() -> Sender<Job> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    STARTER
        .get_or_init(|| {
            let (sender, jobs) = channel::<Job>();
            // Without the thread the channel closes, and whoever asks is told so.
            let _ =
                std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || jobs.iter().for_each(|job| job()));
            sender
        })
        .clone()
}

const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

fn spawn(plan: &Plan) -> Result<Boxed, Unavailable> {
    let (told, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (status, ended) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pid = fork(plan, &report, &ended)?;
    drop((report, ended));
    let boxed = Boxed { pid, isolated: plan.isolated, status: (plan.kind == Kind::Watched).then_some(status) };
    let mut words = Vec::new();
    std::fs::File::from(told).read_to_end(&mut words)?;
    if words.is_empty() {
        return Ok(boxed);
    }
    let step = STEPS.get(usize::from(words[0])).copied().unwrap_or("starting a box");
    let number = words.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let error = std::io::Error::from_raw_os_error(number);
    if words[0] >= 8 {
        return Err(Unavailable::Broken(format!("{step} failed: {error}: {}", plan.program.to_string_lossy())));
    }
    Err(refused(step, error))
}

/// What usually stands in the way.
fn refused(step: &'static str, error: std::io::Error) -> Unavailable {
    let on = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|content| content.trim() == value);
    let advice = if on("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "this system keeps ordinary users from making namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root lets them"
    } else if on("/proc/sys/kernel/unprivileged_userns_clone", "0") || on("/proc/sys/user/max_user_namespaces", "0") {
        "this system has no user namespaces for ordinary users: see `sysctl kernel.unprivileged_userns_clone user.max_user_namespaces`"
    } else {
        "in a container, it must allow user namespaces and an unmasked /proc (docker: --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
    };
    Unavailable::Isolation { step, error, advice }
}

#[allow(unsafe_code)]
fn fork(plan: &Plan, report: &OwnedFd, ended: &OwnedFd) -> Result<Pid, Unavailable> {
    let mut flags = libc::SIGCHLD;
    if plan.isolated {
        flags |= NAMESPACES | if plan.root { 0 } else { libc::CLONE_NEWUSER };
    }
    // SAFETY: valid sets; signals wait until the child has given up the parent's handlers.
    let before = unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    };
    // SAFETY: `fork` with namespaces. The child makes system calls only, see `inside.rs`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        enter(plan, report.as_raw_fd(), ended.as_raw_fd());
    }
    let error = std::io::Error::last_os_error();
    // SAFETY: the mask as it was.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) if pid.as_raw_nonzero().get() > 0 => Ok(pid),
        _ => Err(refused("making namespaces", error)),
    }
}
