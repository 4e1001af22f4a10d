# Holds memory in pipes and sockets.
# ends: exit signal memory
import os, socket
held = []
for _ in range(100000):
    try:
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        while True:
            os.write(theirs, bytes(65536))
    except BlockingIOError:
        held.append(ours)
    except OSError:
        break
