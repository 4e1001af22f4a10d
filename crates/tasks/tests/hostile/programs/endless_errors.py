# Error output without end.
# ends: output
import os
while True:
    os.write(2, b"x" * 10000)
