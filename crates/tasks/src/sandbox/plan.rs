//! What a box sees and may use, made before the fork: the child of a process with many threads must not
//! allocate.

use std::ffi::{CString, OsString};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getegid, geteuid};
use seccompiler::BpfProgram;

use super::{Limits, Unavailable};

/// Who a box is to itself; outside it is the user, or nobody where RELIGN runs as root.
const INSIDE: u32 = 1000;
pub(super) const NOBODY: u32 = 65534;

/// A part of the system that a box sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bind {
    /// Where it lies outside.
    pub(super) from: PathBuf,
    /// Where it lies inside.
    pub(super) to: PathBuf,
    pub(super) writable: bool,
}

impl Bind {
    /// `path`, to be read at the same place.
    pub(super) fn same(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { from: path.clone(), to: path, writable: false }
    }
}

/// What to start in a box.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(&'static str, OsString)>,
    pub(super) binds: Vec<Bind>,
    pub(super) folder: &'a str,
    pub(super) limits: &'a Limits,
    pub(super) memory: MemoryLimit,
    /// Whether CPU time and processes are limited from the first program on; warm workers do that themselves.
    pub(super) own_limits: bool,
    /// Becomes file descriptors 0, 1, 2, ... of the program.
    pub(super) fds: Vec<BorrowedFd<'a>>,
    /// Whether the program is watched by a first process of ours, or is the first one itself.
    pub(super) kind: Kind,
    /// `false` runs it without any isolation.
    pub(super) isolated: bool,
}

/// What a memory limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLimit {
    /// All address space.
    Space,
    /// What is written to: for runtimes that reserve far more than they use.
    Data,
}

/// Who the box's first process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process of ours that waits for the program and reports how it ended.
    Watched,
    /// The program.
    First,
}

/// One step on the way to the box's file system.
pub(super) enum Step {
    Folder(CString),
    File(CString, &'static [u8]),
    Link { at: CString, to: CString },
    Bind { from: CString, to: CString, writable: bool, device: bool },
}

/// A [`Start`] in the form that the child can use.
pub(super) struct Plan {
    pub(super) isolated: bool,
    pub(super) kind: Kind,
    pub(super) root: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) uid_map: Vec<u8>,
    pub(super) gid_map: Vec<u8>,
    pub(super) steps: Vec<Step>,
    pub(super) scratch: CString,
    pub(super) folder: CString,
    pub(super) program: CString,
    /// What `argv` and `envp` point into.
    _words: [Vec<CString>; 2],
    pub(super) argv: Vec<*const libc::c_char>,
    pub(super) envp: Vec<*const libc::c_char>,
    pub(super) limits: Vec<(Resource, u64)>,
    pub(super) filter: BpfProgram,
    pub(super) fds: Vec<RawFd>,
}

#[allow(unsafe_code)]
// SAFETY: the raw pointers point into `_words`, which the plan owns and never changes.
unsafe impl Send for Plan {}

fn c(text: impl AsRef<std::ffi::OsStr>) -> Result<CString, Unavailable> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| Unavailable::Broken(format!("a zero byte in {:?}", text.as_ref())))
}

impl Plan {
    pub(super) fn new(start: &Start<'_>) -> Result<Self, Unavailable> {
        let root = may_do_all();
        // Root counts no processes and reads all files; a box of root's becomes nobody.
        let (uid, gid) = if root { (NOBODY, NOBODY) } else { (geteuid().as_raw(), getegid().as_raw()) };
        let owner = if root { NOBODY } else { INSIDE };
        let args: Vec<CString> =
            std::iter::once(c(start.program)).chain(start.args.iter().map(c)).collect::<Result<_, _>>()?;
        let mut env = vec![c("PATH=/usr/local/bin:/usr/bin:/bin")?, c("HOME=/tmp")?, c("LANG=C.UTF-8")?];
        for (name, value) in &start.env {
            env.push(c(OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()))?);
        }
        let pointers = |list: &[CString]| list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect();
        let limits = start.limits;
        let mut bounds = vec![
            (Resource::Core, 0),
            (Resource::Fsize, limits.disk_mb << 20),
            (Resource::Nofile, 256),
            (if start.memory == MemoryLimit::Space { Resource::As } else { Resource::Data }, limits.memory()),
        ];
        if start.own_limits {
            // Whole seconds, and only a backstop: it holds single processes, the meter holds all together.
            bounds.push((Resource::Cpu, limits.cpu_seconds.ceil() as u64 + 1));
            // The first process is one, too.
            bounds.push((Resource::Nproc, u64::from(limits.processes) + 1));
        }
        let filter = super::calls::filter().map_err(|error| Unavailable::Broken(error.to_string()))?;
        Ok(Self {
            isolated: start.isolated,
            kind: start.kind,
            root,
            uid,
            gid,
            uid_map: format!("{INSIDE} {uid} 1\n").into_bytes(),
            gid_map: format!("{INSIDE} {gid} 1\n").into_bytes(),
            steps: if start.isolated { steps(&start.binds)? } else { Vec::new() },
            scratch: c(format!("size={}m,nr_inodes=16384,mode=0700,uid={owner},gid={owner}", limits.disk_mb))?,
            folder: c(start.folder)?,
            program: c(start.program)?,
            argv: pointers(&args),
            envp: pointers(&env),
            _words: [args, env],
            limits: bounds,
            filter,
            fds: start.fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect(),
        })
    }
}

/// Whether this process may make mounts without a user namespace of its own.
pub(super) fn may_do_all() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    // In a container without further users there is no nobody to become.
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut ranges = users.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(first..first + count)
    });
    geteuid().is_root() && effective >> CAP_SYS_ADMIN & 1 == 1 && ranges.any(|range| range.contains(&u64::from(NOBODY)))
}

/// What the loader and the C library look for.
const ETC: &[&str] = &["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime"];
const USERS: &[u8] = b"user:x:1000:1000:user:/tmp:/bin/sh\n";
const GROUPS: &[u8] = b"user:x:1000:\n";
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

fn steps(binds: &[Bind]) -> Result<Vec<Step>, Unavailable> {
    let mut steps = Vec::new();
    let mut made: Vec<PathBuf> = Vec::new();
    let mut folder = |steps: &mut Vec<Step>, path: &Path| -> Result<(), Unavailable> {
        let mut parents: Vec<&Path> = path.ancestors().filter(|part| part.parent().is_some()).collect();
        parents.reverse();
        for part in parents {
            if !made.iter().any(|known| known == part) {
                made.push(part.to_owned());
                steps.push(Step::Folder(c(part)?));
            }
        }
        Ok(())
    };
    let old = |path: &Path| c(Path::new("/.old").join(path.strip_prefix("/").unwrap_or(path)));
    for path in ["/proc", "/tmp", "/etc", "/dev"] {
        folder(&mut steps, Path::new(path))?;
    }
    steps.push(Step::File(c("/etc/passwd")?, USERS));
    steps.push(Step::File(c("/etc/group")?, GROUPS));
    for (at, to) in [
        ("shm", "/tmp"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        steps.push(Step::Link { at: c(Path::new("/dev").join(at))?, to: c(to)? });
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        if path.exists() {
            steps.push(Step::File(c(&path)?, b""));
            steps.push(Step::Bind { from: old(&path)?, to: c(&path)?, writable: true, device: true });
        }
    }
    let mut all: Vec<Bind> = ["/usr", "/nix/store", "/gnu/store"].map(Bind::same).into();
    all.extend(ETC.iter().map(|name| Bind::same(Path::new("/etc").join(name))));
    for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match std::fs::read_link(name) {
            Ok(to) => steps.push(Step::Link { at: c(name)?, to: c(to)? }),
            Err(_) => all.push(Bind::same(name)),
        }
    }
    all.extend(binds.iter().cloned());
    // What lies below a part that is mounted anyway needs no mount of its own.
    all.sort_by_key(|bind| bind.to.components().count());
    let mut mounted: Vec<Bind> = Vec::new();
    for bind in all {
        let covered = |other: &Bind| {
            !bind.writable && bind.from == bind.to && other.from == other.to && bind.to.starts_with(&other.to)
        };
        let Ok(kind) = std::fs::metadata(&bind.from) else { continue };
        if mounted.iter().any(covered) {
            continue;
        }
        if kind.is_dir() {
            folder(&mut steps, &bind.to)?;
        } else {
            if let Some(parent) = bind.to.parent() {
                folder(&mut steps, parent)?;
            }
            steps.push(Step::File(c(&bind.to)?, b""));
        }
        steps.push(Step::Bind { from: old(&bind.from)?, to: c(&bind.to)?, writable: bind.writable, device: false });
        mounted.push(bind);
    }
    Ok(steps)
}
