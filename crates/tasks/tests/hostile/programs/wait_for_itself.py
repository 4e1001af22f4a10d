# Waits for a lock that it holds.
# ends: idle
import threading
lock = threading.Lock()
lock.acquire()
lock.acquire()
