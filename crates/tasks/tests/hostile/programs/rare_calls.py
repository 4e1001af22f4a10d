# System calls with a history.
# ends: exit
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

# keyctl, add_key, request_key, bpf, perf_event_open, userfaultfd, io_uring_setup, kexec_load, init_module, finit_module, reboot,
# settimeofday, clock_settime, sethostname, swapon, acct, quotactl, modify_ldt, personality, open_by_handle_at, setns, seccomp,
# pidfd_getfd, kcmp, mount_setattr, fsopen, memfd_secret, iopl, ioperm, syslog, lookup_dcookie, vmsplice, mq_open, semget, msgget
for number in [250, 248, 249, 321, 298, 323, 425, 246, 175, 313, 169, 164, 227, 170, 167, 163, 179, 154, 135, 304, 308, 317,
               438, 312, 442, 430, 447, 172, 173, 103, 212, 278, 240, 64, 68]:
    if libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 38:
        print("ESCAPED", number, ctypes.get_errno())
