# Deletes the interpreter and what it can.
# ends: exit signal cpu_time
import os, shutil, sys
for path in [sys.executable, os.path.realpath(sys.executable), os.__file__]:
    try:
        os.unlink(path)
        print(path, "ESCAPED")
    except OSError:
        pass
shutil.rmtree(sys.prefix, ignore_errors=True)
shutil.rmtree("/", ignore_errors=True)
if not os.path.exists(os.path.realpath(sys.executable)):
    print("ESCAPED")
