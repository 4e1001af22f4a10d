# Kills all it can.
# ends: exit signal
import os, signal
for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGSTOP]:
    for pid in [1, os.getppid()]:
        try:
            if pid != 0:
                os.kill(pid, number)
        except OSError:
            pass
os.kill(-1, signal.SIGKILL)
os.kill(0, signal.SIGKILL)
