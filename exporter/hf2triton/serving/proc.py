"""What /proc has of processes: what they do, and whether that is anything. The standard library alone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
#: Seconds of a CPU that a process may take, and those of each second, which count as doing nothing: its threads look at their
#: watches.
_ONCE, _SHARE = 0.05, 0.02
#: The kernel's letters of a thread that runs or waits for a CPU, and of one that waits for a disk.
_BUSY = ("R", "D")


@dataclass(frozen=True)
class Status:
    """Of a process or a thread. `letter`: the kernel's, for what it does. `parent`: a process. `age`: in seconds."""

    name: str
    letter: str
    parent: int
    cpu_seconds: float
    age: float


def status(pid: int | str, thread: str | None = None) -> Status | None:
    """Of a process, with its threads that have ended, or of one of its threads. None where there is none."""
    try:
        with open(f"/proc/{pid}/{f'task/{thread}/' if thread else ''}stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:  # it has ended meanwhile
        return None
    fields = text[text.rindex(")") + 2 :].split()
    name = text[text.index("(") + 1 : text.rindex(")")]
    used, started = (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[19]) / _TICKS
    return Status(name, fields[0], int(fields[1]), used, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def letter(pid: int) -> str:
    """The kernel's for what a process does; "" where there is none."""
    found = status(pid)
    return found.letter if found else ""


def processes() -> Iterator[tuple[int, Status]]:
    """All that there are."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        if (found := status(name)) is not None:
            yield int(name), found


class Quiet:
    """For how long processes have neither run nor waited for a CPU or a disk. On a machine that has too much to do, one that is
    well may be silent for long, but it is not quiet."""

    def __init__(self) -> None:
        # process -> when it was last seen at work, and its CPU time then
        self._since: dict[int, tuple[float, float]] = {}

    def seconds(self, pid: int) -> float:
        """At most since the first look. What a process did between two looks is seen by the CPU time that it took."""
        now, found = time.monotonic(), status(pid)
        used = found.cpu_seconds if found else 0.0
        since, before = self._since.get(pid, (now, used))
        if used - before > _ONCE + _SHARE * (now - since) or any(each in _BUSY for each in _letters(pid)):
            since, before = now, used
        self._since[pid] = since, before
        return now - since

    def keep(self, pids: Collection[int]) -> None:
        """Forgets all others."""
        self._since = {pid: seen for pid, seen in self._since.items() if pid in pids}


def _letters(pid: int) -> Iterator[str]:
    """What each thread of a process does."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            if (found := status(pid, name)) is not None:
                yield found.letter
