# Talks to the world.
# ends: exit
import socket
for family, kind in [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM),
                     (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW), (40, socket.SOCK_STREAM)]:
    try:
        line = socket.socket(family, kind)
        print(family, "ESCAPED")
    except OSError:
        pass
for path in ["/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "/tmp/.X11-unix/X0", "\0/tmp/.X11-unix/X0"]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print(path, "ESCAPED")
    except OSError:
        pass
