# Leaves a process behind.
# ends: exit
import os, sys
MARK = input()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3):
            os.close(fd)
        os.execv("/bin/sh", [MARK, "-c", "while :; do sleep 1; done", MARK])
    os._exit(0)
os.wait()
