# Sleeps on the first call.
import time
def square(x):
    time.sleep(100000)
