"""Processes that do one thing each, for tests of what looks at processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

#: What a process says once it does what it is for.
_THERE = "there"
SLEEPS, SPINS = "time.sleep(1000)", "while True: pass"


@contextmanager
def children() -> Iterator[Callable[..., subprocess.Popen]]:
    """A function that starts a process of some code, with `words` as its arguments and the files `pass_fds` open; all are ended
    at the end."""
    with ExitStack() as stack:

        def start(
            code: str, *words: str, program: str = sys.executable, pass_fds: Collection[int] = ()
        ) -> subprocess.Popen:
            code = f"import socket, sys, time\nprint({_THERE!r}, flush=True)\n{code}"
            child = subprocess.Popen(
                [program, "-c", code, *words],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                pass_fds=pass_fds,
            )
            stack.callback(_end, child)
            assert child.stdout.readline().strip() == _THERE
            return child

        yield start


def _end(child: subprocess.Popen) -> None:
    child.kill()
    child.communicate()
