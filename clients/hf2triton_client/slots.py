"""Places for requests under way. What waits for one is bounded, in number and by its deadline; blocking and for asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .errors import DeadlineExceeded, ServerBusy

#: Requests that may wait for a place, unless a connection says otherwise.
MOST_WAITING = 10_000
#: How much the last request counts in the mean time that a place is taken.
_WEIGHT = 0.1


class _Slots:
    def __init__(self, places: int, most_waiting: int) -> None:
        self._places, self._most_waiting = places, most_waiting
        self._free, self._waiting = places, 0
        self._seconds: float | None = None  # that a place is taken for, in the mean

    def _require_room(self) -> None:
        if self._waiting >= self._most_waiting:
            after = None if self._seconds is None else (self._waiting + 1) * self._seconds / self._places
            hint = "" if after is None else f"; retry after {after:.1f} s"
            raise ServerBusy(
                f"{self._waiting} requests wait for one of the {self._places} places of this connection, and no more may"
                f" (max_in_flight, max_waiting){hint}",
                after,
            )

    def _note(self, began: float) -> None:
        took = time.monotonic() - began
        self._seconds = took if self._seconds is None else (1 - _WEIGHT) * self._seconds + _WEIGHT * took

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"not sent: none of the {self._places} places of this connection (max_in_flight) was free before the deadline"
        )


class Slots(_Slots):
    """For threads."""

    def __init__(self, places: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(places, most_waiting)
        self._changed = threading.Condition()

    def take(self, until: float) -> Callable[[object], None]:
        """Waits for a place, up to a moment on the clock of `time.monotonic`. What it gives gives the place back.

        Raises ServerBusy where too many wait, and DeadlineExceeded.
        """
        with self._changed:
            if self._free == 0:
                self._require_room()
                self._waiting += 1
                try:
                    if not self._changed.wait_for(lambda: self._free > 0, max(until - time.monotonic(), 0.0)):
                        raise self._late()
                finally:
                    self._waiting -= 1
            self._free -= 1
        began = time.monotonic()

        def give_back(_: object) -> None:
            with self._changed:
                self._note(began)
                self._free += 1
                self._changed.notify()

        return give_back


class AsyncSlots(_Slots):
    """For the tasks of one event loop, in the order in which they came."""

    def __init__(self, places: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(places, most_waiting)
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def place(self, until: float) -> AsyncIterator[None]:
        """A place, as `Slots.take` gives one."""
        await self._take(until)
        began = time.monotonic()
        try:
            yield
        finally:
            self._note(began)
            self._give_back()

    async def _take(self, until: float) -> None:
        if self._free:
            self._free -= 1
            return
        self._require_room()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(until - time.monotonic(), 0.0), self._expire, turn)
        self._queue.append(turn)
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was its turn in the same moment: the next one has it
                self._give_back()
            raise
        finally:
            self._waiting -= 1
            timer.cancel()

    def _expire(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(self._late())

    def _give_back(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
