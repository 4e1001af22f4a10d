# Follows links and `..` out of its folder.
# ends: exit
import os
SECRET = input()
os.chdir("/tmp")
for target in ["/proc/1/root", "/proc/self/root/..", "../../../../../..", "/proc/1/cwd", "/dev/fd/3", "/proc/thread-self/root"]:
    link = "/tmp/link"
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(target, link)
    try:
        print(open(link + SECRET).read(), "ESCAPED")
    except OSError:
        pass
for name in ["hard"]:
    try:
        os.link("/etc/passwd", "/tmp/hard")
        print("ESCAPED")
    except OSError:
        pass
