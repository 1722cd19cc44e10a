"""What a forked process may do with gRPC. A fork copies none of gRPC's threads, but copies the state they left unfinished.

A child can use gRPC on its own channels if none of the parent's calls was under way at the fork (grpcio 1.85: 2,900 children
without a failure; with calls under way, 6 % of the children crashed when they opened a channel). So a fork waits briefly for
the calls under way, and no new calls begin meanwhile. If calls are still under way after that, the child is refused gRPC at
once. gRPC's asyncio has one thread for all channels, which a child lacks: a child can use asyncio only if the parent did not.

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

#: How many seconds a fork waits for the calls under way.
PATIENCE = 1.0
_PAUSE = 0.01
#: The environment variable for gRPC's handling of forks, and its values that turn it off.
_SUPPORT, _OFF = "GRPC_ENABLE_FORK_SUPPORT", ("0", "false", "f", "no", "n")

_REMEDY = "start the process with multiprocessing's spawn or forkserver, or fork before"


class _Heir(Protocol):
    """An object that must know when it is in a forked child. `inherited` needs no lock: it is called while the child has a
    single thread."""

    def inherited(self) -> None: ...


class _Gate:
    """Counts the calls under way in this process. `closed`: how many imminent forks keep the gate closed."""

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
#: Why this process cannot use gRPC, or its asyncio; empty if it can. And whether it has used them.
_broken = _asyncio_broken = ""
_used = _asyncio_used = False


def require(for_asyncio: bool = False) -> None:
    """Raises ClientError if this process cannot use gRPC, or its asyncio."""
    global _used, _asyncio_used
    if why := _broken or (_asyncio_broken if for_asyncio else ""):
        raise ClientError(why)
    _used, _asyncio_used = True, _asyncio_used or for_asyncio


def tell(heir: _Heir) -> None:
    """Registers `heir`: its `inherited()` is called in each forked child, as long as something refers to it."""
    _heirs.add(heir)


def keep(*objects: object) -> None:
    """Keeps inherited gRPC objects alive in a child for ever, even as Python exits: destroying them would wait for locks
    that are never released."""
    for one in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


@contextmanager
def calling() -> Iterator[None]:
    """Surrounds a gRPC call, which forks wait for. First waits for an imminent fork, at most `PATIENCE` seconds."""
    enter()
    try:
        yield
    finally:
        leave()


def enter() -> None:
    """Begins a call that ends elsewhere, with `leave`."""
    _gate.enter()


def leave(*_: object) -> None:
    _gate.leave()


async def passed() -> None:
    """Waits until no fork is imminent, so that `calling` does not block the event loop."""
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
