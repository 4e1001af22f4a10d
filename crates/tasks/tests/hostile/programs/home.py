# Looks for the user's files.
# ends: exit
import os
SECRET = input()
for path in [SECRET, "/proc/self/root" + SECRET, "/proc/self/cwd/../" + SECRET, "/.old" + SECRET]:
    try:
        print(open(path).read(), "ESCAPED")
    except OSError:
        pass
for folder in ["/home", "/root", "/var", "/run", "/mnt", "/srv", "/opt", "/boot", "/sys"]:
    for where, folders, files in os.walk(folder):
        # A toolchain that is installed there is all that is seen.
        parts = [name for name in folders + files if name in (".ssh", ".bashrc", ".cargo", ".cache", "log", "shm")]
        if parts and where.count("/") < 3:
            print(where, parts, "ESCAPED")
