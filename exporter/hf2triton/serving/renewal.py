"""Lets a tritonserver take over from another on the same ports without losing a request. Uses only the standard library.

tritonserver keeps the threads and shared memory of each process that died at work (seen with 24.10: the Python backend never
deletes the response factories of its requests, which hold the model). The successor starts beside it on the same ports
(`--reuse-grpc-port`, `--reuse-http-port`), and gets all new connections once it is ready. Old connections move over within the
time set by `--grpc-max-connection-age`; requests in flight on them finish first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import sockets
from .host import Host
from .loading import Watch
from .states import Loads
from .stubs import dead_stubs, stubs

#: gRPC ends connections after a minute, give or take a tenth; requests in flight then still finish.
LEAVE_SECONDS = 90.0
#: A server may keep the leftovers of this many dead processes (36 threads and 1 MiB or more each).
KEPT = 5
_SHARED = Path("/dev/shm")


class Renewal:
    """The servers besides the active one: its successor, and those already replaced."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._successor: Successor | None = None
        self._leaving: list[Leaving] = []

    @property
    def under_way(self) -> bool:
        return self._successor is not None

    @property
    def over(self) -> bool:
        """Whether no caller is connected to a replaced server any more."""
        return not self._leaving

    def look(self) -> None:
        self._leaving = [one for one in self._leaving if not one.over()]

    def begin(self, old: subprocess.Popen[bytes], models: Sequence[str]) -> None:
        """Starts another server that loads these models, if possible."""
        if not has_room(old.pid):
            self._host.say(f"tritonserver keeps what {KEPT} processes left, and there is no memory for a second one")
            return
        with contextlib.suppress(OSError):  # not permitted here
            self._successor = Successor(self._host, old, models)
            self._host.say(f"tritonserver keeps what {KEPT} processes left: starting another one, which takes over")

    def ready(self) -> Successor | None:
        """The server that can take over; None while there is none. Ends a server that will never be ready."""
        if self._successor is not None and (why := self._successor.failed()) is not None:
            self._host.say(f"no other tritonserver takes over: {why}")
            self._end_successor()
        return self._successor if self._successor is not None and self._successor.ready() else None

    def take_over(self, successor: Successor, old: subprocess.Popen[bytes], at_once: bool) -> None:
        """Makes room for the successor: ends the old server, at once or when no caller is connected to it. Raises OSError."""
        leaving = Leaving(old, self._host.shm_prefix)
        if at_once:
            leaving.end()
        else:
            self._leaving.append(leaving)
        self._successor = None

    def end(self) -> None:
        """Ends all servers except the active one."""
        self._end_successor()
        for one in self._leaving:
            one.end()
        self._leaving = []

    def _end_successor(self) -> None:
        if self._successor is not None:
            self._successor.end()
        self._successor = None


class Successor:
    """A server that is started beside another. If a model cannot be loaded, it ends and the other server continues."""

    def __init__(self, host: Host, old: subprocess.Popen[bytes], models: Sequence[str]) -> None:
        """Raises OSError if ports cannot be taken from another process."""
        # two servers cannot share the metrics port, which opens last
        sockets.stop_listening(old.pid, host.metrics.port)
        self._host = host
        self.process = host.start(models, "--exit-on-error=true")
        self._watch, self._loads = Watch(self), Loads(host.repositories, host.backends)
        self._began = dict.fromkeys(models, time.monotonic())

    @property
    def pid(self) -> int | None:
        return None if self.process.poll() is not None else self.process.pid

    def ready(self) -> bool:
        return self._host.metrics.answers("metrics", 1.0)

    def failed(self) -> str | None:
        """Why it will never be ready; None if it may still become ready."""
        if (why := self._watch.stopped()) is not None:
            return why
        model = self._loads.stuck(stubs(self.process.pid), self._began, self.process.pid)
        return None if model is None else f"it waits in vain for the process of model {model}"

    def end(self) -> None:
        end(self.process, regions(self.process.pid, self._host.shm_prefix))


class Leaving:
    """A server that has been replaced."""

    def __init__(self, process: subprocess.Popen[bytes], shm_prefix: str) -> None:
        """Raises OSError if ports cannot be taken from another process."""
        self.process = process
        self._prefix = shm_prefix
        self._regions = regions(process.pid, shm_prefix)
        self._dead = set(dead_stubs(process.pid))
        self._ports = sockets.stop_listening(process.pid)
        self._until = time.monotonic() + LEAVE_SECONDS

    def over(self) -> bool:
        """Whether nobody waits for the server any more; if so, ends it."""
        if self.process.poll() is None and time.monotonic() < self._until and self._needed():
            return False
        self.end()
        return True

    def end(self) -> None:
        end(self.process, self._regions | regions(self.process.pid, self._prefix))

    def _needed(self) -> bool:
        """Whether a caller is connected to the server and does not wait in vain."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            return self._dead.issuperset(dead_stubs(pid)) and sockets.is_connected(pid, self._ports)
        return False


def end(process: subprocess.Popen[bytes], left: Iterable[Path] = ()) -> None:
    """Kills a server and its models' processes. `left`: files to remove, which are unused after that."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for path in left:
        path.unlink(missing_ok=True)


def regions(pid: int, prefix: str) -> set[Path]:
    """The shared memory files with this prefix that a process uses."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    used = {Path(line.split(maxsplit=5)[-1]) for line in lines if str(_SHARED) in line}
    return {path for path in used if path.parent == _SHARED and path.name.startswith(prefix)}


def kept(pid: int, prefix: str) -> int:
    """The number of dead model processes for which a server keeps shared memory."""
    return len(regions(pid, prefix)) - sum(not stub.dead for stub in stubs(pid))


def has_room(pid: int) -> bool:
    """Whether there is enough memory for a second server like this one."""
    used = sum(_memory(one) for one in [pid, *(stub.pid for stub in stubs(pid))])
    return used < _available()


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _available() -> float:
    """Bytes available on this machine and to this container."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = [int(lines["MemAvailable"].split()[0]) * 1024]
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number
        cgroup = Path("/sys/fs/cgroup")
        free.append(int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text()))
    return min(free)
