# Changes the limits, the priority and the cores of the first process.
# ends: exit
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

limit = (ctypes.c_uint64 * 2)(0, 0)
mask = ctypes.c_uint64(1)
if libc.prlimit(1, 7, limit, None) == 0 or libc.sched_setaffinity(1, 8, ctypes.byref(mask)) == 0 or libc.setpriority(0, 1, 19) == 0:
    print("ESCAPED")
