"""Runs examples as their readers do: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
#: The most that anything in these tests takes, on a machine that does much else.
SECONDS = 90.0


def finished(*words: object) -> subprocess.CompletedProcess[str]:
    """A Python program in the examples' folder, once it has ended."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=SECONDS)


@contextmanager
def started(log: Path, *words: object, **options: object) -> Iterator[subprocess.Popen[str]]:
    """The same while it runs, with stderr in a file. It is killed at the end if it still runs."""
    with log.open("w") as stderr:
        command = [sys.executable, *map(str, words)]
        process = subprocess.Popen(command, cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=stderr, text=True, **options)
        with process:
            try:
                yield process
            finally:
                process.kill()


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)
