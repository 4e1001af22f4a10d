# Becomes root.
# ends: exit
import os, subprocess
for change in [lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])]:
    try:
        change()
        print("ESCAPED")
    except OSError:
        pass
for program in ["su", "sudo", "mount", "newgrp", "passwd", "chsh"]:
    try:
        done = subprocess.run([program, "-c", "id -u"], capture_output=True, text=True, timeout=1, stdin=subprocess.DEVNULL)
        if done.stdout.strip() == "0":
            print(program, "ESCAPED")
    except (OSError, subprocess.TimeoutExpired):
        pass
if os.geteuid() == 0 or "CapEff:\t0000000000000000" not in open("/proc/self/status").read():
    print("ESCAPED")
