# Mounts, unmounts, changes its root.
# ends: exit
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

import os
for done in [libc.mount(b"x", b"/tmp", b"tmpfs", 0, None), libc.mount(b"/", b"/tmp", None, 4096, None), libc.umount2(b"/tmp", 2),
             libc.mount(None, b"/", None, 32 | 4096, None), libc.chroot(b"/tmp"), libc.pivot_root(b"/tmp", b"/tmp") if hasattr(libc, "pivot_root") else -1]:
    if done == 0:
        print("ESCAPED")
