# One file that is too large, with holes.
# ends: exit signal
import os
for path in ["/tmp/huge", "/dev/shm/huge"]:
    try:
        with open(path, "wb") as file:
            file.truncate(1 << 40)
        print("ESCAPED")
    except OSError:
        pass
