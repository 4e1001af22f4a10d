# Many processes that each take a little less than allowed.
# ends: memory exit signal cpu_time
import os, time
for _ in range(12):
    if os.fork() == 0:
        hoard = bytearray(100 << 20)
        for at in range(0, len(hoard), 4096):
            hoard[at] = 1
        time.sleep(60)
time.sleep(60)
