"""Limits the requests under way, blocking and for asyncio. The number of waiting requests is limited too. A request that
cannot get a place before its deadline is refused as soon as that is known."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..errors import DeadlineExceeded, ServerBusy

#: Requests that may wait for a place, unless a connection says otherwise.
MOST_WAITING = 10_000
#: How many of the last requests are used to estimate how long a place is taken.
_LAST = 16


class _Slots:
    def __init__(self, places: int, most_waiting: int) -> None:
        self._places, self._most_waiting = places, most_waiting
        self._free, self._waiting = places, 0
        self._took: deque[float] = deque(maxlen=_LAST)  # seconds for which places were taken

    def _require_room(self, until: float) -> None:
        if self._waiting >= self._most_waiting:
            raise self._busy(f"{self._waiting} requests wait for one of {self._own}, and no more may (max_waiting)")
        if self._in_vain(self._waiting, until):
            raise self._hopeless()

    def _in_vain(self, before: int, until: float) -> bool:
        """Returns whether a request with `before` others ahead of it cannot get a place by `until`, even if all of them are
        as quick as the quickest of the last requests. False while too little is known."""
        if len(self._took) < _LAST:
            return False
        return time.monotonic() + (before + 1) * min(self._took) / self._places > until

    def _hopeless(self) -> ServerBusy:
        return self._busy(f"not sent: {self._waiting} requests wait for one of {self._own}, too many for its deadline")

    def _busy(self, message: str) -> ServerBusy:
        if not self._took:
            return ServerBusy(message)
        after = (self._waiting + 1) * sum(self._took) / len(self._took) / self._places
        return ServerBusy(f"{message}; retry after {after:.1f} s", after)

    @property
    def _own(self) -> str:
        return f"the {self._places} places of this connection (max_in_flight)"

    def _note(self, began: float) -> None:
        self._took.append(time.monotonic() - began)

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"not sent: none of {self._own} was free before the deadline")


class Slots(_Slots):
    """For threads."""

    def __init__(self, places: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(places, most_waiting)
        self._changed = threading.Condition()

    def take(self, until: float) -> Callable[[object], None]:
        """Waits for a place until a moment on the clock of `time.monotonic`. Returns a function that gives the place back.

        Raises ServerBusy if too many requests wait, in number or for the deadline, and DeadlineExceeded.
        """
        with self._changed:
            if self._free == 0:
                self._require_room(until)
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
    """For the tasks of one event loop, first come, first served."""

    def __init__(self, places: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(places, most_waiting)
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()  # until when each can wait

    @asynccontextmanager
    async def place(self, until: float) -> AsyncIterator[None]:
        """Holds a place within the block; see `Slots.take`."""
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
        self._require_room(until)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(until - time.monotonic(), 0.0), self._expire, turn)
        self._queue.append((turn, until))
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # its turn came at the same moment: pass it on
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
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self._refuse_the_last()
                return
        self._free += 1

    def _refuse_the_last(self) -> None:
        """Refuses waiting requests whose deadline is now known to come before their turn. When they came, the others seemed
        quicker."""
        while self._queue:
            turn, until = self._queue[-1]
            if not turn.done():
                if not self._in_vain(len(self._queue) - 1, until):
                    return
                turn.set_exception(self._hopeless())
            self._queue.pop()
