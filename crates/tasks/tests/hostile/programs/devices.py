# Makes devices and reads the disk.
# ends: exit
import os, stat
for kind, major, minor in [(stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 8, 0), (stat.S_IFCHR, 1, 1)]:
    try:
        os.mknod("/tmp/device", kind | 0o600, os.makedev(major, minor))
        print("ESCAPED")
    except OSError:
        pass
for name in ["/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/tty"]:
    try:
        open(name, "rb").read(1)
        print(name, "ESCAPED")
    except OSError:
        pass
