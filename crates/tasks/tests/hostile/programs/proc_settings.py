# Changes the system through /proc and /sys.
# ends: exit
for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/self/uid_map",
             "/proc/1/oom_score_adj", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/proc/kcore", "/proc/kallsyms"]:
    try:
        open(path, "wb", buffering=0).write(b"0")
        print(path, "ESCAPED")
    except OSError:
        pass
