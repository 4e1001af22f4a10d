# Writes where it must not.
# ends: exit
import os
SECRET = input()
for path in ["/evil", "/usr/evil", "/etc/passwd", "/usr/bin/evil", "/dev/evil", "/proc/evil", "/root/evil", "/home/evil", SECRET]:
    try:
        open(path, "w").write("x")
        print(path, "ESCAPED")
    except OSError:
        pass
for folder in ["/usr", "/etc", "/bin", "/lib", "/"]:
    try:
        os.chmod(folder, 0o777)
        print(folder, "ESCAPED")
    except OSError:
        pass
