# Fills the disk.
# ends: exit
import os
written = 0
try:
    for number in range(10000):
        with open(f"/tmp/{number}", "wb") as file:
            written += file.write(bytes(1 << 20))
except OSError:
    pass
if written > 17 << 20:
    print("ESCAPED", written)
for number in range(1000000):
    try:
        os.mkdir(f"/dev/shm/folder{number}")
    except OSError:
        break
else:
    print("ESCAPED")
