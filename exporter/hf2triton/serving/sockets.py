"""Shuts down TCP sockets of another process of the same user, because tritonserver has no call for this.

To do so, it duplicates the sockets (pidfd_getfd(2), Linux 5.6). The default profiles of Docker and Kubernetes forbid that; then
it raises OSError. Uses only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The same on every architecture.
_PIDFD_GETFD = 438
_LISTENS = "0A"  # in /proc/net/tcp


@dataclass(frozen=True)
class Socket:
    """A socket. `number`: the descriptor in its process. `port`: the local port, not the peer's."""

    number: int
    port: int
    listens: bool


def end_connections(pid: int) -> None:
    """Ends all connections to the ports of a process, so that callers notice at once instead of waiting."""
    found = _sockets(pid)
    ports = {one.port for one in found if one.listens}
    for one in found:
        if not one.listens and one.port in ports:
            with contextlib.suppress(FileNotFoundError), _duplicate(pid, one.number) as copy:
                _shut_down(copy)


def stop_listening(pid: int, port: int | None = None) -> set[int]:
    """Makes a process stop listening on a port, or on all its ports, and returns these ports. Connections stay open."""
    listening = [one for one in _sockets(pid) if one.listens and port in (None, one.port)]
    for one in listening:
        with _duplicate(pid, one.number) as copy:
            _ignore(pid, one.number, copy)
            _shut_down(copy)
    return {one.port for one in listening}


def is_connected(pid: int, ports: set[int]) -> bool:
    """Whether any of these ports of a process has a connection."""
    return any(one.port in ports and not one.listens for one in _sockets(pid))


def _shut_down(copy: int) -> None:
    with socket.socket(fileno=os.dup(copy)) as one, contextlib.suppress(OSError):  # it has ended meanwhile
        one.shutdown(socket.SHUT_RDWR)


def _ignore(pid: int, number: int, copy: int) -> None:
    """Removes a socket from those its process waits for: evhtp would endlessly try to accept from a socket that was shut down."""
    if Path(f"/proc/self/fd/{number}").exists():
        raise OSError(errno.EBUSY, f"descriptor {number} is in use here as well")
    os.dup2(copy, number, inheritable=False)  # epoll knows descriptors by their numbers
    try:
        for other, what in _links(pid):
            if what == "anon_inode:[eventpoll]":
                with contextlib.suppress(FileNotFoundError), _duplicate(pid, other) as epoll:
                    select.epoll.fromfd(os.dup(epoll)).unregister(number)
    finally:
        os.close(number)


def _sockets(pid: int) -> list[Socket]:
    known = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for words in map(str.split, Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]):
                known[f"socket:[{words[9]}]"] = (int(words[1].rpartition(":")[2], 16), words[3] == _LISTENS)
    return [Socket(number, *known[what]) for number, what in _links(pid) if what in known]


def _links(pid: int) -> Iterator[tuple[int, str]]:
    """The descriptors of a process, and what they refer to."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            yield int(link.name), str(link.readlink())


@contextlib.contextmanager
def _duplicate(pid: int, number: int) -> Iterator[int]:
    """Duplicates a descriptor of another process into this one. Raises FileNotFoundError if it was closed meanwhile."""
    process = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0)
        if copy < 0 and ctypes.get_errno() == errno.EBADF:
            raise FileNotFoundError(number)
        if copy < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(process)
    try:
        yield copy
    finally:
        os.close(copy)
