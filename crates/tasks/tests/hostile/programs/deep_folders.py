# Folders so deep that no path reaches them, and files that nobody may touch.
# ends: exit
import os
for _ in range(3000):
    os.mkdir("x")
    os.chdir("x")
open("file", "w").close()
os.chdir("/tmp")
os.mkdir("locked")
os.chmod("locked", 0)
os.chmod("/tmp", 0)
