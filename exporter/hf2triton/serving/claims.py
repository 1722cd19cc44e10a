"""The folders that servers use. A folder stays claimed as long as any process that claimed it is alive.

If a program and its supervisor are killed at the same time, they cannot clean up; the next server that starts does it for them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ServingError
from .leftovers import remove_environments, remove_shared_memory
from .proc import processes
from .stubs import STUB

_PREFIX, _OWNER = "hf2triton-server-", "owner"
#: How long a folder may lack its owner's file, and how long a killed process may linger.
_NEW_SECONDS, _END_SECONDS = 60.0, 10.0
#: How long a killed program and what it started may keep their locks and ports.
_GONE_SECONDS = 2.0


@dataclass(frozen=True)
class Claim:
    """A claimed folder. `lock`: the descriptor of a file locked with flock(2); the lock ends once no process has it open."""

    folder: Path
    lock: int

    @classmethod
    def new(cls) -> Claim:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            lock = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                mine = _locked(lock)
            except OSError:  # a file system without locks: nobody cleans up there
                mine = True
            if mine:
                return cls(folder, lock)
            os.close(lock)  # another process took it for abandoned

    def note(self, shm_prefix: str) -> None:
        """Records the name prefix of a server's shared memory."""
        os.write(self.lock, f"{shm_prefix}\n".encode())

    def release(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def clear_up() -> None:
    """Ends the servers of killed programs and removes what they left behind. Several programs can do so at the same time."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it belongs to another user, or another program was faster
            _clear_up(folder)
    remove_environments()


def clear_up_for(check: Callable[[], None]) -> None:
    """Clears up until `check` raises no ServingError. What was killed only just now may still be in its way for a moment. After
    that, the ServingError is raised."""
    until = time.monotonic() + _GONE_SECONDS
    while True:
        try:
            check()
        except ServingError:
            if time.monotonic() > until:
                raise
        else:
            return clear_up()  # of those that ended only now, too
        clear_up()
        time.sleep(0.05)


def _clear_up(folder: Path) -> None:
    try:
        lock = os.open(folder / _OWNER, os.O_RDWR)
    except FileNotFoundError:  # its program was killed before claiming it, or is about to claim it
        if time.time() - folder.stat().st_mtime > _NEW_SECONDS:
            folder.rmdir()
        return
    try:
        if os.fstat(lock).st_uid != os.geteuid() or not _locked(lock):
            return
        _end(folder)
        for prefix in os.read(lock, 1 << 16).decode(errors="replace").split():
            remove_shared_memory(prefix)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """Locks a file, unless another process has locked or removed it."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(lock).st_nlink > 0
    return False


def _end(folder: Path) -> None:
    until = time.monotonic() + _END_SECONDS
    while (pids := list(_servers(folder))) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _servers(folder: Path) -> Iterator[int]:
    """The server and model processes that use a folder."""
    for pid, one in processes():
        if one.name in ("tritonserver", STUB):
            with contextlib.suppress(OSError):
                if f"{folder}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield pid
