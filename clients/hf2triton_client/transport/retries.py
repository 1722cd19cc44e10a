"""The tries of one request: how long each may take, which errors lead to another try, and when.

All calls use this policy: blocking, asyncio and streams. gRPC's own policy considers only the method and the status, and a
stream that it retries may wait past its deadline.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..error_rows import Reason
from ..errors import ClientError, ConnectionFailed, DeadlineExceeded, ModelNotFound, ServerBusy, ServerStopping

if TYPE_CHECKING:
    from .target import Target

#: Seconds between two tries of a request that found no server or a busy server; they double from the first to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: The same for a request whose model has gone: another server may have it. The requests of all callers go to the servers in
#: turn, so it takes many quick tries to reach all of them.
_FIRST_ELSEWHERE, _LONGEST_ELSEWHERE = 0.01, 0.1
#: For how many seconds to look for a model that was there, and how many tries to make for a model that was not. A stopping
#: server reports models as gone until it ends; a server that reloads a model needs a second or two.
SEEKING, _TRIES_TO_FIND = 5.0, 4
#: Errors that mean "not here any more", and those that mean "not now".
_ELSEWHERE, _AGAIN = (ModelNotFound, ServerStopping), (ServerBusy, ConnectionFailed)


class Tries:
    """The tries of a request that is about to begin. `until`: its deadline, on the clock of `time.monotonic`. `opening`:
    nothing is known about its model yet; in that case, an answer from a stopping server still shows that it had the model."""

    def __init__(self, target: Target, opening: bool = False) -> None:
        self._target = target
        self.until = time.monotonic() + target.timeout
        self._left = target.retries
        self._opening = opening
        self._moved: float | None = None  # when it was first reported to be elsewhere
        self._again = _pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._elsewhere = _pauses(_FIRST_ELSEWHERE, _LONGEST_ELSEWHERE)
        self._sought = 0
        self._refusal: ClientError | None = None  # after which another try was to come

    def seconds(self) -> float:
        """Returns the time left until the deadline. If none is left, raises the error that led to this try, or else
        DeadlineExceeded."""
        left = self.until - time.monotonic()
        if left <= 0:
            late = f"no answer within {self._target.timeout:g} s (at {self._target.url})"
            raise self._refusal or DeadlineExceeded(late)
        return left

    def pause(self, error: ClientError, known: bool | None) -> float:
        """Returns the seconds until the next try. `known`: whether the model was there before; None if it should not be looked
        for.

        Raises the error if there is no other try: it would have the same result, there were enough tries, or it would come too
        late.
        """
        if isinstance(error, _ELSEWHERE):
            had = known or (self._opening and error.reason is Reason.GONE)
            pause = None if known is None else self._pause_elsewhere(had)
        elif isinstance(error, _AGAIN):
            pause = self._pause_again(error)
        else:
            pause = None
        if pause is None or time.monotonic() + pause >= self.until:
            raise error
        self._refusal = error
        return pause

    def _pause_elsewhere(self, known: bool) -> float | None:
        now = time.monotonic()
        self._moved = self._moved or now
        self._sought += 1
        enough = now - self._moved > SEEKING if known else self._sought > _TRIES_TO_FIND
        if enough or not self._target.retries:
            return None
        return 0.0 if self._sought == 1 else next(self._elsewhere)

    def _pause_again(self, error: ClientError) -> float | None:
        if self._left <= 0:
            return None
        self._left -= 1
        hint = getattr(error, "retry_after", None) or 0.0
        return max(next(self._again), hint * random.uniform(1.0, 1.25))


def _pauses(first: float, longest: float) -> Iterator[float]:
    """Yields random pauses, so that callers do not all come back at once."""
    pause = first
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(2 * pause, longest)
