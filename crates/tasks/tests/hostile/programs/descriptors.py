# Writes to every descriptor it finds.
# ends: exit
import os
for fd in range(3, 1024):
    try:
        os.write(fd, b"x" * 100)
        print("ESCAPED", fd)
    except OSError:
        pass
