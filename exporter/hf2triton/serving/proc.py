"""Reads from /proc what processes do, and whether they are active. Uses only the standard library."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
#: CPU seconds in total, and per second, that still count as idle: an idle process's threads check their timers.
_ONCE, _SHARE = 0.05, 0.02
#: The kernel's letters for a thread that runs or waits for a CPU, and for a thread that waits for a disk.
_BUSY = ("R", "D")


@dataclass(frozen=True)
class Status:
    """The status of a process or a thread. `letter`: the kernel's letter for its state. `parent`: a process id. `age`: in
    seconds."""

    name: str
    letter: str
    parent: int
    cpu_seconds: float
    age: float


def status(pid: int | str, thread: str | None = None) -> Status | None:
    """The status of a process, including its ended threads, or of one of its threads. None if there is no such process."""
    try:
        # many times a second, for which pathlib is too slow
        with open(f"/proc/{pid}/{f'task/{thread}/' if thread else ''}stat", "rb") as file:  # noqa: PTH123
            text = file.read().decode(errors="replace")
    except OSError:  # it has ended meanwhile
        return None
    fields = text[text.rindex(")") + 2 :].split()
    name = text[text.index("(") + 1 : text.rindex(")")]
    used, started = (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[19]) / _TICKS
    return Status(name, fields[0], int(fields[1]), used, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def letter(pid: int) -> str:
    """The kernel's letter for a process's state; "" if there is no such process."""
    found = status(pid)
    return found.letter if found else ""


def all_pids() -> Iterator[int]:
    return map(int, filter(str.isdigit, os.listdir("/proc")))  # noqa: PTH208


def processes() -> Iterator[tuple[int, Status]]:
    """All processes."""
    for pid in all_pids():
        if (found := status(pid)) is not None:
            yield pid, found


class Quiet:
    """Measures how long processes have neither run nor waited for a CPU or a disk. On an overloaded machine, a healthy process
    may be silent for a long time, but it is not quiet."""

    def __init__(self) -> None:
        # process -> when it was last seen working, and its CPU time then
        self._since: dict[int, tuple[float, float]] = {}

    def seconds(self, pid: int) -> float:
        """How long a process has been quiet, counted at most from the first look. Its CPU time shows what it did between
        looks."""
        now, found = time.monotonic(), status(pid)
        used = found.cpu_seconds if found else 0.0
        since, before = self._since.get(pid, (now, used))
        if used - before > _ONCE + _SHARE * (now - since) or any(each in _BUSY for each in _letters(pid)):
            since, before = now, used
        self._since[pid] = since, before
        return now - since

    def keep(self, pids: Collection[int]) -> None:
        """Forgets all other processes."""
        self._since = {pid: seen for pid, seen in self._since.items() if pid in pids}


def _letters(pid: int) -> Iterator[str]:
    """The letter of each thread of a process."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            if (found := status(pid, thread)) is not None:
                yield found.letter
