"""Decides whether a batch is computed or refused, so that requests are answered while their callers still wait.

Triton's queue is first come, first served, and unlimited, because `max_queue_size` would make it miss wake-ups (see `make
bench-stalls`). If requests arrive faster than they are answered, waits grow until each request is computed only after its caller
has given up. So batches are refused at the front of the queue while more requests wait than the model can answer in the allowed
time. The oldest requests are refused because their callers' patience is used up; those behind them move up.

Times come from a clock that only goes forward.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

from .rows import Busy

#: Seconds that requests may wait, unless the config says otherwise.
MAX_WAIT = 8.0
#: The shortest allowed wait, however impatient callers are.
MIN_WAIT = 1.0
#: Seconds between two looks at the queue.
PERIOD = 0.25
#: The model must have worked for this share of the period: a queue only grows if the model is always busy.
_BUSY = 0.5
#: How many batches the rate is computed from.
_BATCHES = 4
#: Seconds to ask whether a caller is still there (measured: 0.1 to 0.2 ms), and the share of the time to spend on asking.
_QUESTION, _ASKING = 2e-4, 0.05
#: If more than this share of a batch's callers have left, they do not tolerate the wait; a few always leave for other reasons.
_MANY = 0.2
#: Asking is worthwhile after this many seconds of waiting or computing.
ASK_AFTER = 1.0
#: Refusing ends when the queue is down to this share of the allowed requests.
_ENOUGH = 0.5
#: The longest run of refused batches, as a multiple of the last computation's time.
_LONGEST_TURN = 4.0
#: The longest pause that callers are asked to make, in seconds.
_LONGEST_PAUSE = 60.0


class Overloaded(Busy):
    """More requests wait than can be answered in time. The message says when to try again."""


class Admission:
    """Decides for each batch of one frontend.

    `count`: returns how many requests wait for the model, or None if unknown. `max_wait`: in seconds, 0 for unlimited. `largest`:
    the number of requests in a full batch; two full batches may always wait. `frontends`: how many frontends serve the same
    queue, at about the same speed.
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
        """Returns the error to refuse all `requests` of a batch with, or None to compute them. `end` must follow."""
        self._began = now = self._clock()
        self._look(now, requests)
        rate = self._rate()
        if not self._max_wait or self._waiting is None or rate is None:
            return None
        if self._waiting <= self._largest:  # the crowd that was impatient is gone
            self._allowed = self._max_wait
        # refuse until only half of what is allowed waits, because those have already waited
        most = max(self._least, self._allowed * rate * (1.0 if self._over_since is None else _ENOUGH))
        if self._waiting <= most:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = now
        # do not refuse a momentary crowd; between refusals, keep answering, but less when there is more to refuse
        longest = self._computed[-1][1] * min(self._waiting / most, _LONGEST_TURN)
        if now - self._over_since < PERIOD or now - self._ended > longest:
            return None
        # not all of them should come back at once
        pause = min(self._waiting / rate, _LONGEST_PAUSE) * random.uniform(0.8, 1.2)
        return Overloaded(
            f"{self._waiting:,} requests wait, more than are answered in {self._allowed:.3g} s; retry after {pause:.1f} s"
        )

    def end(self, computed: int) -> None:
        """Records that a batch is over. `computed`: how many of its requests were computed, 0 if it was refused."""
        now = self._clock()
        self._worked += now - self._began
        if computed:
            self._computed.append((computed, now - self._began))
            self._ended = now

    def questions(self, requests: int) -> int:
        """How many of a batch's callers to ask whether they are still there. Asking takes time, so 0 unless batches or
        waits are long."""
        rate = self._rate()
        if rate is None:
            return 0
        seconds = sum(seconds for _, seconds in self._computed) / len(self._computed)
        if max(seconds, (self._waiting or 0) / rate) < ASK_AFTER:
            return 0
        return min(requests, 1 + int(seconds * _ASKING / _QUESTION))

    def answered(self, asked: int, gone: int) -> None:
        """Records the answers. If many callers have left, they do not wait as long as allowed, so the allowed wait is halved."""
        if gone > _MANY * asked and self._clock() >= self._unmoved_until:
            self._allowed = max(min(MIN_WAIT, self._max_wait), self._allowed / 2)
            self._unmoved_until = (
                self._clock() + self._allowed
            )  # until then, the batches hold callers that have waited longer

    def _rate(self) -> float | None:
        """Requests that all frontends compute per second."""
        if len(self._computed) < 2:
            return None
        requests, seconds = map(sum, zip(*self._computed, strict=True))
        return self._frontends * requests / max(seconds, 1e-6)

    def _look(self, now: float, taken: int) -> None:
        """Updates how many requests are known to wait."""
        if now - self._looked < PERIOD:
            self._waiting = self._waiting and max(self._waiting - taken, 0)
            return
        busy = self._worked >= _BUSY * (now - self._looked)
        self._waiting = self._count() if busy else 0
        self._looked, self._worked = now, 0.0
