"""The memory of a model's process: how much is used at the same time, and when it is returned to the system."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL

#: The parameters of `mallopt` (glibc's malloc.h), and the values that glibc itself reaches in a process with large blocks.
_THRESHOLDS = {"M_MMAP_THRESHOLD": (-3, 32 << 20), "M_TRIM_THRESHOLD": (-1, 64 << 20)}
#: How many bytes a batch must have taken to be worth a clean-up, and how many seconds to wait for another such batch first.
LARGE, PAUSE = 16 << 20, 1.0


def reuse_blocks() -> None:
    """Lets this process reuse freed blocks of memory, as usual.

    tritonserver is started with $MALLOC_MMAP_THRESHOLD_, so that the memory of requests goes back to the system at once. Its
    Python processes inherit the variable, and it would cost them a third of the throughput of images.
    """
    mallopt = getattr(CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        for option, value in _THRESHOLDS.values():
            mallopt(option, value)


class Budget:
    """A number of bytes that threads share."""

    def __init__(self, total: int) -> None:
        self._total = self._free = self._least = total
        self._changed = threading.Condition()

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Waits until `size` bytes are free (or the whole budget, if `size` is larger), and holds them within the block."""
        size = min(size, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
            self._least = min(self._least, self._free)
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()

    def most(self) -> int:
        """The most bytes held at the same time since the last call."""
        with self._changed:
            most, self._least = self._total - self._least, self._free
        return most


class Returns:
    """Returns memory to the system after batches that took a lot of it; malloc would keep it."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._due = 0.0
        self._lock = threading.Lock()
        self._waiting = False

    def after(self, size: int) -> None:
        """Call this with the number of bytes that a batch took."""
        if size < LARGE:
            return
        with self._lock:
            self._due = time.monotonic() + self._pause
            if not self._waiting:
                self._waiting = True
                threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            with self._lock:
                left = self._due - time.monotonic()
                if left <= 0:
                    self._waiting = False
                    break
            time.sleep(left)
        give_back()


def give_back() -> None:
    """Returns freed memory to the system, including what only reference cycles hold."""
    gc.collect()
    trim()


def trim() -> None:
    """Returns freed memory to the system, within milliseconds."""
    malloc_trim = getattr(CDLL(None), "malloc_trim", None)  # glibc's
    if malloc_trim is not None:
        malloc_trim(0)
