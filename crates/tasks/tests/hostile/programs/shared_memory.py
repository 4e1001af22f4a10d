# Memory that belongs to no process.
# ends: exit signal memory
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

import mmap
if libc.syscall(319, b"x", 0) >= 0 or libc.shmget(0, 1 << 30, 0o1600) >= 0:
    print("ESCAPED")
hoard = []
while True:
    hoard.append(mmap.mmap(-1, 1 << 24))
    hoard[-1].write(b"x" * (1 << 24))
