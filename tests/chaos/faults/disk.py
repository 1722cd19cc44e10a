"""File systems that are full: small ones of the run's own, in a mount namespace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..namespace import fill
from ..promises import MODEL_AWAY, Promise
from ..stage import Stage
from . import Fault

#: How long a file system stays full.
SECONDS = 4.0


@contextmanager
def full(folder: Path) -> Iterator[None]:
    filled = fill(folder)
    try:
        yield
    finally:
        filled.unlink()


def log_full(stage: Stage) -> None:
    """Nothing more can be logged."""
    with full(stage.namespace.logs):
        time.sleep(SECONDS)


def log_full_and_killed(stage: Stage) -> None:
    """A model's process is killed while nothing can be logged."""
    with full(stage.namespace.logs):
        _kill_one(stage)
        stage.window.over = time.monotonic()
        time.sleep(SECONDS)


def shm_full(stage: Stage) -> None:
    """No shared memory is left, in which Triton hands requests to models."""
    with full(stage.namespace.shared_memory):
        time.sleep(SECONDS)


def shm_full_and_killed(stage: Stage) -> None:
    """A model's process is killed while there is no shared memory with which another could be started."""
    with full(stage.namespace.shared_memory):
        _kill_one(stage)
        time.sleep(SECONDS)


def _kill_one(stage: Stage) -> None:
    frontend = stage.random.choice(sorted(stage.served.stubs()))
    stage.served.stubs()[frontend].kill()


def _private(stage: Stage) -> str:
    return "" if stage.namespace.private else "it would fill a file system that is not the run's own"


def _fault(inject: Callable[[Stage], None], promise: Promise) -> Fault:
    return Fault(inject, promise, _private)


#: Requests that find no room are refused, as a fault of the server.
_NO_ROOM = Promise(MODEL_AWAY, told=5, back=10, starts=True)
FAULTS = {
    "log_full": _fault(log_full, Promise(steady=True)),
    "log_full_and_killed": _fault(log_full_and_killed, Promise(MODEL_AWAY, told=5, back=5)),
    "shm_full": _fault(shm_full, _NO_ROOM),
    "shm_full_and_killed": _fault(shm_full_and_killed, _NO_ROOM),
}
