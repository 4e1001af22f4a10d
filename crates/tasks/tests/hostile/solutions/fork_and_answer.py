# Answers twice, from two processes.
import os
def square(x):
    os.fork()
    return -x
