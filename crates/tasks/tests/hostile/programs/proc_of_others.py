# Looks into the first process through /proc.
# ends: exit
for name in ["mem", "environ", "maps", "root/etc/shadow", "fd/0", "fd/3", "cwd", "exe", "auxv", "syscall", "stack"]:
    for mode in ["rb", "r+b"]:
        try:
            open("/proc/1/" + name, mode).read(1)
            print(name, "ESCAPED")
        except OSError:
            pass
