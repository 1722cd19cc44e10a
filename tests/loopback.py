"""Runs a command where only the loopback interface is there, and all of its ports are free."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h


def alone(command: Sequence[str]) -> list[str]:
    """What runs a command in a network namespace of its own."""
    return ["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__, *command]


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    os.execvp(sys.argv[1], sys.argv[1:])
