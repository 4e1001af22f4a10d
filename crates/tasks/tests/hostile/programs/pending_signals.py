# Queues signals, timers and locks without end.
# ends: exit signal cpu_time
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
timers = []
for _ in range(200000):
    timer = ctypes.c_void_p()
    if libc.timer_create(0, None, ctypes.byref(timer)) != 0:
        break
