//! The first steps of a box, from the fork to `exec`.
//!
//! All of this runs in the child of a process that may have many threads: it makes system calls through
//! `rustix` and `libc`, and neither allocates nor takes a lock. What the system refuses goes to the parent
//! as a step and an error number.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{Gid, Uid, UnshareFlags};

use super::plan::{Kind, Plan, Step};

/// Names of the steps, as the parent reports them.
pub(super) const STEPS: &[&str] = &[
    "setting up user ids",
    "making a private tree of mounts",
    "entering an empty root",
    "mounting a part of the system",
    "mounting /proc",
    "mounting /tmp",
    "leaving the old root",
    "becoming an ordinary user",
    "setting limits",
    "placing files",
    "changing the folder",
    "installing the seccomp filter",
    "starting the program",
    "dying with the parent",
];

/// A step that failed, and why.
struct Failed(u8, Errno);

type Done = Result<(), Failed>;

trait At<T> {
    fn at(self, step: u8) -> Result<T, Failed>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: u8) -> Result<T, Failed> {
        self.map_err(|error| Failed(step, error))
    }
}

/// The most descriptors a program can be given.
pub(super) const MOST_FDS: usize = 16;

/// What the first process writes when a watched program has ended: wait status, user and system time in
/// microseconds, most memory in kilobytes.
pub(super) const REPORT: usize = 32;

/// Runs in the child and never returns. `report` takes the failed step; it closes when the program starts.
/// `status` takes the end of a watched program.
pub(super) fn enter(plan: &Plan, report: RawFd, status: RawFd) -> ! {
    let Ok(report) = above(report) else { exit(127) };
    // SAFETY: it was opened just now.
    let report = unsafe { OwnedFd::from_raw_fd(report) };
    let Err(failed) = build(plan, report.as_fd(), status);
    let mut words = [0u8; 8];
    words[0] = failed.0;
    words[4..].copy_from_slice(&failed.1.raw_os_error().to_ne_bytes());
    let _ = rustix::io::write(&report, &words);
    exit(127)
}

fn exit(status: i32) -> ! {
    // SAFETY: ends this process, without running anything of the parent's.
    unsafe { libc::_exit(status) }
}

/// A copy of a descriptor above all that a program is given; it closes when a program starts.
fn above(fd: RawFd) -> Result<RawFd, Failed> {
    // SAFETY: plain numbers; a bad one is refused.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, MOST_FDS as RawFd) };
    if copy < 0 { Err(Failed(9, last())) } else { Ok(copy) }
}

fn build(plan: &Plan, report: BorrowedFd<'_>, status: RawFd) -> Result<Infallible, Failed> {
    reset_signals();
    if plan.isolated {
        if !plan.root {
            map_ids(plan).at(0)?;
        }
        file_system(plan)?;
        let _ = rustix::system::sethostname(b"box");
        if plan.root {
            become_nobody(plan)?;
        }
    }
    let _ = rustix::process::setsid();
    // Behind all changes of identity, which undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(13)?;
    // A parent that died before that is seen by nobody reading the report.
    let mut reader = [PollFd::from_borrowed_fd(report, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut reader, Some(&now)).at(13)? > 0 {
        exit(127);
    }
    match plan.kind {
        Kind::First => Err(start(plan)),
        Kind::Watched => {
            // SAFETY: `fork` without libc's handlers; the child goes on as this code does.
            let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            match child {
                0 => Err(start(plan)),
                1.. => {
                    let _ = report;
                    watch(child as i32, status)
                }
                _ => Err(Failed(12, last())),
            }
        }
    }
}

fn last() -> Errno {
    // SAFETY: the thread's own errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Handlers of the parent mean nothing here, and the first process of a box is safe from its own kind only
/// without any.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: default handling; numbers that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is valid, and so is unblocking all signals.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn write_file(path: &CStr, content: &[u8], flags: OFlags) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
    if content.is_empty() {
        return Ok(());
    }
    rustix::io::write(file, content).map(drop)
}

fn map_ids(plan: &Plan) -> rustix::io::Result<()> {
    write_file(c"/proc/self/setgroups", b"deny", OFlags::WRONLY)?;
    write_file(c"/proc/self/gid_map", &plan.gid_map, OFlags::WRONLY)?;
    write_file(c"/proc/self/uid_map", &plan.uid_map, OFlags::WRONLY)
}

fn file_system(plan: &Plan) -> Done {
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(1)?;
    // /tmp is there everywhere, and its own content comes to light again with the old root.
    mount(c"root", c"/tmp", c"tmpfs", safe, c"size=1m,mode=0755").at(2)?;
    rustix::fs::mkdir(c"/tmp/.old", Mode::RWXU).at(2)?;
    rustix::process::pivot_root(c"/tmp", c"/tmp/.old").at(2)?;
    rustix::process::chdir(c"/").at(2)?;
    for step in &plan.steps {
        place(step).at(3)?;
    }
    let flags = safe | MountFlags::NOEXEC;
    // Without the rest of /proc, and nobody sees who may not be traced; older kernels know less.
    mount(c"proc", c"/proc", c"proc", flags, c"hidepid=2,subset=pid")
        .or_else(|_| mount(c"proc", c"/proc", c"proc", flags, c"hidepid=2"))
        .at(4)?;
    mount(c"scratch", c"/tmp", c"tmpfs", safe, plan.scratch.as_c_str()).at(5)?;
    unmount(c"/.old", UnmountFlags::DETACH).at(6)?;
    let _ = rustix::fs::rmdir(c"/.old");
    protect(c"/", false, true, false).at(6)
}

fn place(step: &Step) -> rustix::io::Result<()> {
    match step {
        Step::Folder(path) => rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755)),
        Step::File(path, content) => write_file(path, content, OFlags::WRONLY | OFlags::CREATE),
        Step::Link { at, to } => rustix::fs::symlink(to.as_c_str(), at.as_c_str()),
        Step::Bind { from, to, writable, device } => {
            mount_bind_recursive(from.as_c_str(), to.as_c_str())?;
            protect(to, true, !writable, *device)
        }
    }
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user: u64,
}

/// No set-user-id, no devices (unless it is one), and nothing to be written.
fn protect(path: &CStr, below: bool, read_only: bool, device: bool) -> rustix::io::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const MOUNT_ATTR_NOSUID: u64 = 2;
    const MOUNT_ATTR_NODEV: u64 = 4;
    let set =
        MOUNT_ATTR_NOSUID | if device { 0 } else { MOUNT_ATTR_NODEV } | if read_only { MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = MountAttr { set, clear: 0, propagation: 0, user: 0 };
    let flags = if below { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends in a zero byte and the struct has the size that is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(last()) }
}

fn become_nobody(plan: &Plan) -> Done {
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    rustix::thread::set_thread_groups(&[]).at(7)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(7)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(7)?;
    // A change of identity makes a process the system's own, and its files in /proc root's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(7)?;
    // SAFETY: this process has one thread, and a namespace of users changes no file descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.at(7)?;
    map_ids(plan).at(7)
}

/// Limits, files, filter, exec: returns only what went wrong.
fn start(plan: &Plan) -> Failed {
    let done = (|| {
        // Copies above all targets first, so that no target overwrites what is still to be placed.
        let mut copies = [0; MOST_FDS];
        for (copy, &fd) in copies.iter_mut().zip(&plan.fds) {
            *copy = above(fd)?;
        }
        for (target, &copy) in copies.iter().enumerate().take(plan.fds.len()) {
            // SAFETY: plain numbers; a bad one is refused.
            if unsafe { libc::dup2(copy, target as RawFd) } < 0 {
                return Err(Failed(9, last()));
            }
        }
        // SAFETY: marks descriptors; the report goes with them, when the program starts.
        unsafe {
            libc::syscall(libc::SYS_close_range, plan.fds.len(), u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        if plan.isolated {
            rustix::process::chdir(plan.folder.as_c_str()).at(10)?;
        }
        for &(resource, most) in &plan.limits {
            // Without a namespace of users all of the user's processes would count.
            if plan.isolated || resource != Resource::Nproc {
                let limit = Rlimit { current: Some(most), maximum: Some(most) };
                rustix::process::setrlimit(resource, limit).at(8)?;
            }
        }
        // The first to go where memory runs out outside; raising it is always allowed.
        let _ = write_file(c"/proc/self/oom_score_adj", b"1000", OFlags::WRONLY);
        rustix::thread::set_no_new_privs(true).at(11)?;
        if plan.isolated {
            seccompiler::apply_filter(&plan.filter).map_err(|_| Failed(11, last()))?;
        }
        Ok(())
    })();
    if let Err(failed) = done {
        return failed;
    }
    // SAFETY: program, arguments and environment end in zero and outlive the call.
    unsafe { libc::execve(plan.program.as_ptr(), plan.argv.as_ptr(), plan.envp.as_ptr()) };
    Failed(12, last())
}

/// The first process of a box with a watched program: collects the dead, and ends with the program; the kernel
/// then ends all others.
fn watch(child: i32, status: RawFd) -> ! {
    // SAFETY: closes what belongs to the program and the parent, but for the way to report.
    unsafe {
        if status > 0 {
            libc::syscall(libc::SYS_close_range, 0, status - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, status + 1, u32::MAX, 0);
    }
    loop {
        // SAFETY: both are valid for writing.
        let (pid, how, usage) = unsafe {
            let (mut how, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
            let pid = libc::wait4(-1, &raw mut how, 0, &raw mut usage);
            (pid, how, usage)
        };
        if pid == child || (pid < 0 && last() == Errno::CHILD) {
            let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
            let words = [i64::from(how), micros(usage.ru_utime), micros(usage.ru_stime), usage.ru_maxrss];
            let mut bytes = [0u8; REPORT];
            for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            // SAFETY: `status` is open until here.
            let _ = unsafe { libc::write(status, bytes.as_ptr().cast(), REPORT) };
            exit(0)
        }
    }
}
