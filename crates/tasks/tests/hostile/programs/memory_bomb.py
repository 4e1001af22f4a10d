# Takes all memory.
# ends: exit signal memory
hoard = []
while True:
    hoard.append(bytearray(1 << 24))
