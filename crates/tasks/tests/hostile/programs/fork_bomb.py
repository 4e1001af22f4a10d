# Forks for ever.
# ends: cpu_time processes exit idle
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
