# Makes namespaces, in which it would be root.
# ends: exit
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

for flag in [0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000]:
    if libc.unshare(flag) == 0:
        print("ESCAPED unshare", hex(flag))
    pid = libc.syscall(56, flag | 17, 0, 0, 0, 0)
    if pid == 0:
        libc._exit(0)
    if pid > 0:
        print("ESCAPED clone", hex(flag))
arguments = (ctypes.c_uint64 * 11)(0x10000000)
if libc.syscall(435, arguments, 88) >= 0:
    print("ESCAPED clone3")
