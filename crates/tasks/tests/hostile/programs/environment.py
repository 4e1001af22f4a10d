# Looks for secrets in its surroundings.
# ends: exit
import os
if set(os.environ) - {"PATH", "HOME", "LANG", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "LC_CTYPE", "PWD", "SHLVL", "_"}:
    print(dict(os.environ), "ESCAPED")
if "relign" in open("/proc/self/mountinfo").read() if os.path.exists("/proc/self/mountinfo") else False:
    print("ESCAPED")
if os.uname().nodename != "box":
    print(os.uname(), "ESCAPED")
