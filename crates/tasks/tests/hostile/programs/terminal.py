# Types on the terminal.
# ends: exit
import fcntl, termios
for fd in range(3):
    for request in [getattr(termios, "TIOCSTI", 0x5412), 0x541C, termios.TIOCSCTTY]:
        try:
            fcntl.ioctl(fd, request, b"x")
            print("ESCAPED")
        except OSError:
            pass
