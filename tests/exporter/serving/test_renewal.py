"""How another server takes over: sockets of other processes, what they keep in shared memory, and whether there is room."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from hf2triton.serving import renewal, sockets
from hf2triton.serving.renewal import Leaving, end, has_room, kept, regions

from .below import wait_for
from .children import SLEEPS, children

#: Listens where it says, and answers each connection with a word once it has got one.
LISTENS = """
import fcntl, selectors
with socket.create_server(("127.0.0.1", 0)) as low:
    # of a number that is free in the process of the tests as well
    server = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 900))
print(server.getsockname()[1], flush=True)
selector = selectors.EpollSelector()
selector.register(server, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            selector.register(server.accept()[0], selectors.EVENT_READ)
        elif not (got := key.fileobj.recv(9)):
            selector.unregister(key.fileobj)
            key.fileobj.close()
        else:
            key.fileobj.sendall(got)
"""
MAPS = """
import mmap
with open(sys.argv[1], "r+b") as file:
    kept = mmap.mmap(file.fileno(), 0)
"""


@pytest.fixture
def start():
    with children() as start:
        yield start


@pytest.fixture
def server(start) -> tuple[subprocess.Popen, int]:
    child = start(LISTENS)
    port = int(child.stdout.readline())
    try:
        with sockets._duplicate(child.pid, 0):
            pass
    except PermissionError:
        pytest.skip("processes may not take descriptors of others here (pidfd_getfd)")
    return child, port


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30)
    assert echoed(connection)
    return connection


def echoed(connection: socket.socket) -> bool:
    connection.sendall(b"x")
    return connection.recv(9) == b"x"


def refused(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return True
    return False


def test_connections_of_a_process_are_ended(server):
    """Who waits is told at once. It listens on, and its own connections to others stay."""
    child, port = server
    with connect(port) as connection:
        sockets.end_connections(child.pid)
        assert connection.recv(9) == b""
    connect(port).close()


def test_a_process_listens_no_more(server):
    """New connections are refused, so that another one gets them; those that there are stay, and it does not spin."""
    child, port = server
    with connect(port) as connection:
        assert sockets.stop_listening(child.pid, port + 1) == set()
        assert sockets.stop_listening(child.pid) == {port}
        assert refused(port)
        assert echoed(connection)
        assert sockets.is_connected(child.pid, {port})
    wait_for(lambda: not sockets.is_connected(child.pid, {port}), "the end of the connection")
    assert child.poll() is None


def test_one_that_leaves_is_ended_once_nobody_is_connected(server):
    """Or after a time."""
    child, port = server
    with connect(port):
        leaving = Leaving(child, "hf2triton-test-")
        assert not leaving.over()
        assert child.poll() is None
    wait_for(leaving.over, "its end")
    assert child.poll() is not None


def test_one_that_leaves_is_ended_after_a_time(server, monkeypatch):
    """Though somebody is connected."""
    monkeypatch.setattr(renewal, "LEAVE_SECONDS", 0.2)
    child, port = server
    with connect(port):
        leaving = Leaving(child, "hf2triton-test-")
        wait_for(leaving.over, "its end")
    assert child.poll() is not None


def test_shared_memory_is_that_of_one_server(start):
    """It is known by what the process uses, and removed with that alone: the other server's names begin in the same way."""
    prefix = f"hf2triton-test-{uuid.uuid4().hex}-"
    mine, other = (Path("/dev/shm", f"{prefix}{number}") for number in range(2))
    try:
        for path in (mine, other):
            path.write_bytes(b"x" * 4096)
        child = start(f"{MAPS}\nprint(flush=True)\n{SLEEPS}", str(mine))
        child.stdout.readline()
        assert regions(child.pid, prefix) == {mine}
        assert regions(child.pid, "another") == set()
        assert kept(child.pid, prefix) == 1
        end(child, regions(child.pid, prefix))
        assert (mine.exists(), other.exists()) == (False, True)
        assert regions(child.pid, prefix) == set()
    finally:
        for path in (mine, other):
            path.unlink(missing_ok=True)


def test_a_second_server_needs_room(monkeypatch):
    """As much as the first one takes."""
    assert has_room(os.getpid())
    monkeypatch.setattr(renewal, "_available", lambda: 1.0)
    assert not has_room(os.getpid())
