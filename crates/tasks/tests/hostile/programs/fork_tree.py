# Children that all work, so that no single one uses much time.
# ends: cpu_time
import os
for _ in range(3):
    os.fork()
while True:
    pass
