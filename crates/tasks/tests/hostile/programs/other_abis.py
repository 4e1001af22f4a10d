# System calls by the doors of other architectures.
# ends: exit signal
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

import mmap
if libc.syscall(0x40000000 | 101, 0, 0, 0, 0) >= 0:
    print("ESCAPED x32")
# mov eax, 20 (getpid of 32 bits); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
if call() > 0:
    print("ESCAPED int80")
