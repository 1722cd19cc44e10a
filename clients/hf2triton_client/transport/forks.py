"""What a forked process may do with gRPC. A fork copies none of gRPC's threads, but whatever they were at.

A child may use gRPC on channels of its own if none of the parent's calls was under way at the fork (grpcio 1.85: 2,900 children
without a failure; where calls were under way, 6 % of the children crashed when they opened a channel). So a fork waits a moment
for the calls under way, while no others begin. Where that is not enough, the child is refused at once. gRPC's asyncio has one
thread for all channels, which is not there in a child: it can be used in a child only if the parent did not use it.

https://github.com/grpc/grpc/blob/master/doc/fork_support.md
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from ..errors import ClientError

#: Seconds that a fork waits for the calls under way.
PATIENCE = 1.0
_PAUSE = 0.01
#: The variable of the environment that keeps gRPC from minding forks, and its values that do.
_SUPPORT, _OFF = "GRPC_ENABLE_FORK_SUPPORT", ("0", "false", "f", "no", "n")

_REMEDY = "start the process with multiprocessing's spawn or forkserver, or fork before"


class _Heir(Protocol):
    """What has to know that it is in a child now. Called when the child has a single thread: no lock is needed."""

    def inherited(self) -> None: ...


class _Gate:
    """Counts the calls under way in this process. `closed`: by how many forks that are about to happen."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.under_way = self.closed = 0

    def enter(self) -> None:
        with self.changed:
            while self.closed:
                self.changed.wait()
            self.under_way += 1

    def leave(self) -> None:
        with self.changed:
            self.under_way -= 1
            if self.closed:
                self.changed.notify_all()


_gate = _Gate()
_heirs: WeakSet[_Heir] = WeakSet()
#: Why this process cannot use gRPC, or its asyncio; empty where it can. Whether it has used them.
_broken = _asyncio_broken = ""
_used = _asyncio_used = False


def require(for_asyncio: bool = False) -> None:
    """Raises ClientError where gRPC, or its asyncio, cannot be used in this process."""
    global _used, _asyncio_used
    if why := _broken or (_asyncio_broken if for_asyncio else ""):
        raise ClientError(why)
    _used, _asyncio_used = True, _asyncio_used or for_asyncio


def tell(heir: _Heir) -> None:
    """Has `heir.inherited()` called in each child, as long as it is referred to."""
    _heirs.add(heir)


def keep(*objects: object) -> None:
    """Has what a child inherited of gRPC never end in it, not even as Python ends: that would take locks which are held for
    ever."""
    for one in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


@contextmanager
def calling() -> Iterator[None]:
    """A call of gRPC, for which a fork waits. It waits for a fork that is about to happen, which takes `PATIENCE` at most."""
    enter()
    try:
        yield
    finally:
        leave()


def enter() -> None:
    """The beginning of a call that ends elsewhere, with `leave`."""
    _gate.enter()


def leave(*_: object) -> None:
    _gate.leave()


async def passed() -> None:
    """Waits until no fork is about to happen, so that `calling` does not keep the event loop waiting."""
    while _gate.closed:
        await asyncio.sleep(_PAUSE)


def _before() -> None:
    with _gate.changed:
        _gate.closed += 1
        _gate.changed.wait_for(lambda: _gate.under_way == 0, PATIENCE)


def _after_in_parent() -> None:
    with _gate.changed:
        _gate.closed -= 1
        _gate.changed.notify_all()


def _after_in_child() -> None:
    global _gate, _broken, _asyncio_broken
    if _gate.under_way:
        _broken = (
            f"this process was forked while {_gate.under_way} of its parent's calls were under way, after which gRPC cannot be"
            f" used: {_REMEDY} calls are made in other threads"
        )
    elif _used and os.environ.get(_SUPPORT, "").lower() in _OFF:
        _broken = (
            f"this process was forked from one that had used gRPC with {_SUPPORT} off: leave that unset, or {_REMEDY} gRPC is"
            " used"
        )
    if _asyncio_used:
        _asyncio_broken = (
            f"this process was forked from one that had used gRPC with asyncio, which cannot be used in both: {_REMEDY} the first"
            " asyncio pipeline is opened; blocking pipelines can be used in both"
        )
    _gate = _Gate()
    for heir in list(_heirs):
        heir.inherited()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
