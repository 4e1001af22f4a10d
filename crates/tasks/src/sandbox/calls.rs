//! The system calls a box may make.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// What interpreters, compilers and their programs use. All else answers ENOSYS, which programs are
/// written to cope with. Not among them, so that no program reaches another, holds memory that no limit
/// counts, or meets a rare corner of the kernel: ptrace, `process_vm_*`, `pidfd_getfd`, mounts, namespaces,
/// keys, bpf, perf, `io_uring`, userfaultfd, `memfd_create`, System V and POSIX queues, modules, clocks.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_open, libc::SYS_openat,
    libc::SYS_openat2, libc::SYS_creat, libc::SYS_close, libc::SYS_close_range, libc::SYS_stat, libc::SYS_fstat,
    libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_access,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_lseek, libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select,
    libc::SYS_pselect6, libc::SYS_epoll_create, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd, libc::SYS_eventfd2, libc::SYS_signalfd,
    libc::SYS_signalfd4, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    libc::SYS_inotify_init, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_pipe, libc::SYS_pipe2, libc::SYS_dup, libc::SYS_dup2, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_flock,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_fadvise64, libc::SYS_fallocate,
    libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_sendfile, libc::SYS_copy_file_range, libc::SYS_splice,
    libc::SYS_tee, libc::SYS_getdents, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir,
    libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_mkdir, libc::SYS_mkdirat, libc::SYS_rmdir,
    libc::SYS_link, libc::SYS_linkat, libc::SYS_unlink, libc::SYS_unlinkat, libc::SYS_symlink, libc::SYS_symlinkat,
    libc::SYS_readlink, libc::SYS_readlinkat, libc::SYS_chmod, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_chown,
    libc::SYS_fchown, libc::SYS_lchown, libc::SYS_fchownat, libc::SYS_umask, libc::SYS_utime, libc::SYS_utimes,
    libc::SYS_utimensat, libc::SYS_futimesat, libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr,
    libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_mmap, libc::SYS_mprotect,
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_msync, libc::SYS_mincore,
    libc::SYS_mlock, libc::SYS_munlock, libc::SYS_membarrier, libc::SYS_rseq, libc::SYS_set_robust_list,
    libc::SYS_get_robust_list, libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_pkey_alloc, libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigqueueinfo,
    libc::SYS_sigaltstack, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pause, libc::SYS_alarm,
    libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create, libc::SYS_timer_settime,
    libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete, libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday,
    libc::SYS_time, libc::SYS_times, libc::SYS_getrusage, libc::SYS_getrlimit, libc::SYS_setrlimit,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_getattr, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_getpriority, libc::SYS_ioprio_get, libc::SYS_getcpu,
    libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid,
    libc::SYS_getpgid, libc::SYS_getpgrp, libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_getuid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid,
    libc::SYS_getgroups, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid,
    libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capget,
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group,
    libc::SYS_wait4, libc::SYS_waitid, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_set_tid_address,
    libc::SYS_arch_prctl, libc::SYS_restart_syscall, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen,
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    libc::SYS_shutdown, libc::SYS_setsockopt, libc::SYS_getsockopt,
];

/// Settings of the process itself that harm nobody.
const PRCTL: &[libc::c_int] = &[
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_DUMPABLE,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_CAPBSET_READ,
    libc::PR_SET_VMA,
    libc::PR_SET_THP_DISABLE,
];

/// Bits of `clone` that make a namespace.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The filter, ready for the kernel.
pub(super) fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let when = |index, op, value: u64| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // `clone3` hides its flags from a filter; libraries fall back to `clone` where it is missing.
    let plain = when(0, SeccompCmpOp::MaskedEq(NAMESPACES as u32 as u64), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![plain])?]);
    // Only its own limits and its own cores: a program may not meddle with the worker that serves the next.
    for own in [libc::SYS_prlimit64, libc::SYS_sched_setaffinity] {
        rules.insert(own, vec![SeccompRule::new(vec![when(0, SeccompCmpOp::Eq, 0)?])?]);
    }
    let local = |call| Ok((call, vec![SeccompRule::new(vec![when(0, SeccompCmpOp::Eq, libc::AF_UNIX as u64)?])?]));
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let (call, rule): (i64, Vec<SeccompRule>) = local(call).map_err(|error: seccompiler::BackendError| error)?;
        rules.insert(call, rule);
    }
    let settings: Result<_, _> = PRCTL
        .iter()
        .map(|&option| SeccompRule::new(vec![when(0, SeccompCmpOp::Eq, option as u64)?]))
        .collect();
    rules.insert(libc::SYS_prctl, settings?);
    // TIOCSTI types on a terminal, TIOCLINUX pastes on one.
    let ioctl = SeccompRule::new(vec![
        when(1, SeccompCmpOp::Ne, libc::TIOCSTI)?,
        when(1, SeccompCmpOp::Ne, libc::TIOCLINUX)?,
    ])?;
    rules.insert(libc::SYS_ioctl, vec![ioctl]);
    let otherwise = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}
