# Recurses without end, in Python and in C.
# ends: exit signal cpu_time memory
import sys
sys.setrecursionlimit(1 << 30)
def down(x):
    return [down([x])]
down(0)
