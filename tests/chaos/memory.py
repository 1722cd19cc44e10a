"""What processes take: the most of it since a moment, and what a steady server must not take more and more of."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from .serving import Served

#: What a model's process may take beyond what it had, for a full batch of the largest requests that it accepts.
MOST_BYTES = 1 << 30


class Peaks:
    """The most memory that each process of a server takes within the block, beyond what it had at its start."""

    def __init__(self, served: Served, most: int = MOST_BYTES) -> None:
        self._served, self._most = served, most
        self._before: dict[str, tuple[int, int]] = {}
        self.grown: dict[str, int] = {}

    def __enter__(self) -> Peaks:
        for name, pid in self._served.identities().items():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak becomes what is taken now, proc(5)
                self._before[name] = pid, _status(pid, "VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        for name, (pid, before) in self._before.items():
            with contextlib.suppress(OSError):
                self.grown[name] = _status(pid, "VmHWM") - before

    def over(self) -> list[str]:
        """Those that took more than is promised."""
        return [
            f"{name} took {grown >> 20} MiB more for it; at most {self._most >> 20} are promised"
            for name, grown in self.grown.items()
            if grown > self._most
        ]


def _status(pid: int, name: str) -> int:
    """A figure of /proc/PID/status, in bytes. Raises OSError."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


@dataclass(frozen=True)
class Usage:
    """Of one process, at one moment. `memory`: resident bytes."""

    memory: int
    threads: int
    descriptors: int


def usage(pid: int) -> Usage | None:
    """None for a process that is gone."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        return Usage(process.memory_info().rss, process.num_threads(), process.num_fds())
    return None


def shared_memory(folder: Path) -> tuple[int, int]:
    """How many regions servers have in a folder, and the bytes that those take."""
    sizes = []
    for path in folder.glob("hf2triton-*"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_blocks * 512)
    return len(sizes), sum(sizes)
