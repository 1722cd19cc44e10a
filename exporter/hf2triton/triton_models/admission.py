"""Whether a batch is computed or refused: what waits is kept to what can be answered while its callers wait.

Triton's queue is first come, first served and has no end: `max_queue_size` would make it miss wake-ups (see `make bench-stalls`).
When more comes than is answered, everyone waits longer and longer, until each request is computed just when its caller has given
up. So batches are refused, at the front of the queue, while more waits than the model answers in the time that is allowed. The
oldest go, since a caller's patience is used up by waiting; those behind them move up.

Time is that of a clock that only goes forward.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

from .rows import Busy

#: Seconds for which requests may wait, unless the config says otherwise.
MAX_WAIT = 8.0
#: What is allowed at least, however impatient callers are.
MIN_WAIT = 1.0
#: Seconds between two looks at what waits.
PERIOD = 0.25
#: Of which the model must have worked this share; a queue grows only before one that always works.
_BUSY = 0.5
#: How many batches the rate is that of.
_BATCHES = 4
#: What one question whether a caller is still there takes, in seconds (measured: 0.1 to 0.2 ms), and what share of the time goes
#: into asking.
_QUESTION, _ASKING = 2e-4, 0.05
#: The share of a batch's callers who have left that shows what callers tolerate; a few leave for reasons of their own.
_MANY = 0.2
#: Seconds of waiting, or of computing, from which it is worth to ask.
ASK_AFTER = 1.0
#: The part of what is allowed that is left when refusing ends.
_ENOUGH = 0.5
#: How much longer is refused than was computed before, at most.
_LONGEST_TURN = 4.0
#: The longest pause that a caller is told, in seconds.
_LONGEST_PAUSE = 60.0


class Overloaded(Busy):
    """More waits than can be answered in time. The message says when to try again."""


class Admission:
    """Decides for each batch of one frontend.

    `count`: how many requests wait for the model, None: unknown. `max_wait`: seconds, 0: without end. `largest`: requests of a
    full batch; two of them may always wait. `frontends`: how many serve the same queue, about as fast as this one.
    """

    def __init__(
        self,
        count: Callable[[], int | None],
        max_wait: float,
        largest: int,
        frontends: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._clock = count, clock
        self._max_wait = self._allowed = max_wait
        self._largest, self._least = largest, 2 * largest
        self._frontends = frontends
        self._computed: deque[tuple[int, float]] = deque(maxlen=_BATCHES)  # requests and seconds of batches
        self._waiting: int | None = 0
        self._over_since: float | None = None
        self._unmoved_until = self._worked = 0.0
        self._began = self._looked = self._ended = clock()

    def begin(self, requests: int) -> Overloaded | None:
        """The error with which all `requests` of a batch are refused, or None: they are to be computed. `end` must follow."""
        self._began = now = self._clock()
        self._look(now, requests)
        rate = self._rate()
        if not self._max_wait or self._waiting is None or rate is None:
            return None
        if self._waiting <= self._largest:  # there is no crowd any more that could be impatient
            self._allowed = self._max_wait
        # until half of what is allowed waits: what waits has waited already
        most = max(self._least, self._allowed * rate * (1.0 if self._over_since is None else _ENOUGH))
        if self._waiting <= most:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = now
        # not for a moment's crowd; and the model goes on answering, though less the more there is to refuse
        longest = self._computed[-1][1] * min(self._waiting / most, _LONGEST_TURN)
        if now - self._over_since < PERIOD or now - self._ended > longest:
            return None
        # they are not to come back at once
        pause = min(self._waiting / rate, _LONGEST_PAUSE) * random.uniform(0.8, 1.2)
        return Overloaded(
            f"{self._waiting:,} requests wait, more than are answered in {self._allowed:.3g} s; retry after {pause:.1f} s"
        )

    def end(self, computed: int) -> None:
        """A batch is over, of which `computed` requests were computed, 0 where it was refused."""
        now = self._clock()
        self._worked += now - self._began
        if computed:
            self._computed.append((computed, now - self._began))
            self._ended = now

    def questions(self, requests: int) -> int:
        """How many of a batch's callers to ask whether they are still there: none while nobody waits for long, as it costs."""
        rate = self._rate()
        if rate is None:
            return 0
        seconds = sum(seconds for _, seconds in self._computed) / len(self._computed)
        if max(seconds, (self._waiting or 0) / rate) < ASK_AFTER:
            return 0
        return min(requests, 1 + int(seconds * _ASKING / _QUESTION))

    def answered(self, asked: int, gone: int) -> None:
        """What they said. Where many have left, callers wait for less than is allowed, which is halved."""
        if gone > _MANY * asked and self._clock() >= self._unmoved_until:
            self._allowed = max(min(MIN_WAIT, self._max_wait), self._allowed / 2)
            self._unmoved_until = self._clock() + self._allowed  # until then those come who have waited for longer

    def _rate(self) -> float | None:
        """Requests that all frontends compute in a second."""
        if len(self._computed) < 2:
            return None
        requests, seconds = map(sum, zip(*self._computed, strict=True))
        return self._frontends * requests / max(seconds, 1e-6)

    def _look(self, now: float, taken: int) -> None:
        """Brings up to date what is known to wait."""
        if now - self._looked < PERIOD:
            self._waiting = self._waiting and max(self._waiting - taken, 0)
            return
        busy = self._worked >= _BUSY * (now - self._looked)
        self._waiting = self._count() if busy else 0
        self._looked, self._worked = now, 0.0
