"""Tracks which callers of a batch still wait. Requests that nobody waits for are not computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

#: Seconds of computing after which callers are asked again.
PERIOD = 1.0
#: How many callers are asked at the end, to see how long they wait.
SAMPLE = 8


class Gone(Exception):
    """The caller has cancelled the request, or its deadline has passed: there is nobody to answer."""

    def __init__(self) -> None:
        super().__init__("nobody waits for the answer any more")


class Callers:
    """The callers of a batch's `requests`. A gRPC caller is known to have left when it cancels, its deadline passes or its
    connection ends; an HTTP caller never is. Asking a caller takes 0.1 to 0.2 ms, so they are only asked when it is useful."""

    def __init__(self, requests: Sequence[Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._requests, self._clock = requests, clock
        self._gone: set[int] = set()
        self._asked_at = clock()

    def ask(self, most: int) -> tuple[int, int]:
        """Asks up to `most` callers, evenly spread. Returns how many were asked and how many of these have left."""
        if most <= 0 or not self._requests:
            return 0, 0
        self._asked_at = self._clock()
        chosen = range(0, len(self._requests), -(-len(self._requests) // most))
        return len(chosen), sum(self._has_left(index) for index in chosen)

    @property
    def there(self) -> int:
        """How many callers are not known to have left."""
        return len(self._requests) - len(self._gone)

    def has_left(self, index: int) -> bool:
        """Whether the caller of a request is known to have left, without asking."""
        return index in self._gone

    def wait(self, indices: Iterable[int]) -> bool:
        """Whether anybody waits for one of these requests. Asks again if it last asked a while ago."""
        indices = set(indices) - self._gone
        if self._clock() - self._asked_at < PERIOD:
            return bool(indices)
        # called from several threads at once, each for its own part of the batch
        left = [index for index in indices if self._has_left(index)]
        return len(left) < len(indices)

    def _has_left(self, index: int) -> bool:
        try:
            if self._requests[index].is_cancelled():
                self._gone.add(index)
        except Exception:  # a caller that cannot be asked counts as there
            return False
        return index in self._gone
