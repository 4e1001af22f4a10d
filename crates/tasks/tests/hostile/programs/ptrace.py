# Traces and reads other processes.
# ends: exit
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

import os
buffer = ctypes.create_string_buffer(64)
for pid in [1, os.getppid(), os.getpid()]:
    if libc.ptrace(16, pid, 0, 0) == 0 or libc.ptrace(0x4206, pid, 0, 0) == 0:
        print("ESCAPED")
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
    if libc.syscall(310, pid, vector, 1, vector, 1, 0) > 0 or libc.syscall(311, pid, vector, 1, vector, 1, 0) > 0:
        print("ESCAPED")
