"""Sends what the scheduler has generated, in a separate thread, and notices callers that have gone away."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ..outgoing import message
from .request_state import Answer, RequestState
from .scheduler import Scheduler, Stopped

logger = logging.getLogger(__name__)

#: Seconds between two checks for callers that have gone away, and between updates of the statistics while there are none.
WATCHFUL, IDLE = 0.005, 0.25
#: The largest share of its time for these checks: Triton takes 30 to 60 µs for each caller, 16 ms for 264 of them.
LOOKING = 0.1
#: How many refusals are sent before answers are sent again.
AT_A_TIME = 16
#: The message for a caller if the error itself cannot be sent.
_UNTOLD = "the request failed, and why cannot be told"


class TextReceiver(Protocol):
    """The sender of a request. Called only from the response sender's thread."""

    def send(self, answer: Answer) -> None: ...

    def fail(self, error: BaseException) -> None:
        """Sends an error; nothing follows it."""

    def gone(self) -> bool:
        """Whether nobody waits for answers any more."""
        ...

    def close(self) -> None:
        """Tells a caller that nothing follows, if it was told nothing yet."""


class ResponseSender:
    """The callers of all requests in progress. Each is told exactly once that nothing follows: with its last answer, with an
    error, or with `close` if it has gone away. If `submit` raises, the caller is told nothing.

    Steps do not wait for answers to be sent, which takes a while for each: the next step runs meanwhile. One thread sends to all
    callers, so a caller whose `send` blocks delays the answers of the others, but not the steps. Triton's `send` takes about a
    millisecond and does not wait for the network.

    `tick`: called from that thread regularly, and when a request ends, with the seconds to the first token of each sequence.
    """

    def __init__(self, scheduler: Scheduler, tick: Callable[[Sequence[float]], None]) -> None:
        self._scheduler = scheduler
        self._tick = tick
        self._changed = threading.Condition()
        self._callers: dict[RequestState, TextReceiver] = {}
        self._ready: dict[RequestState, None] = {}  # an ordered set
        self._refused: deque[tuple[TextReceiver, BaseException]] = deque()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> ResponseSender:
        self._thread.start()
        return self

    def submit(self, request_state: RequestState, caller: TextReceiver) -> None:
        """Queues a request whose answers go to a caller. Raises like `RequestState.submit`."""
        with self._changed:
            self._callers[request_state] = caller  # first, because an answer may be ready before this returns
            self._changed.notify()
        try:
            request_state.submit(self._scheduler)
        except BaseException:
            with self._changed:
                del self._callers[request_state]
            raise

    def refuse(self, caller: TextReceiver, error: BaseException) -> None:
        """Sends a caller an error from the sender's thread. Triton 24.10 can crash if a request fails while it is handed over and
        its stream was asked to end with a status (`triton_grpc_error`)."""
        with self._changed:
            self._refused.append((caller, error))
            self._changed.notify()

    def put(self, request_state: RequestState) -> None:
        """Records that there may be something to send."""
        with self._changed:
            self._ready[request_state] = None
            self._changed.notify()

    def stop(self) -> None:
        """Tells all callers that nothing follows, and ends the thread. The scheduler must have stopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        due = 0.0
        while self._ready or self._refused or self._callers or not self._stopped:
            with self._changed:
                if not (
                    self._ready or self._refused
                ):  # not wait_for: a caller that has just come must be watched at once
                    self._changed.wait(WATCHFUL if self._callers else IDLE)
                ready, self._ready = self._ready, {}
                # a few refusals at a time, so that answers do not wait for many of them
                refused = [self._refused.popleft() for _ in range(min(len(self._refused), AT_A_TIME))]
            for request_state in ready:
                self._send(request_state)
            for caller, error in refused:
                self._fail(caller, error)
            began = time.monotonic()
            if began >= due:
                self._look()
                ended = time.monotonic()
                due = ended + max(WATCHFUL, (ended - began) / LOOKING)

    def _send(self, request_state: RequestState) -> None:
        caller = self._callers.get(request_state)
        if caller is None:  # it ended or was refused
            return
        try:
            answer = request_state.take()
            if answer is None:
                return
            if answer.last:
                self._forget(request_state)
            if "cancelled" not in answer.reasons:
                caller.send(answer)
            elif self._gone(caller):
                caller.close()
            else:
                caller.fail(Stopped("the scheduler was stopped before the text was complete"))
        except BaseException as error:  # of a sequence, or of sending
            logger.warning("a request failed: %s", message(error))
            self._forget(request_state)
            request_state.cancel(self._scheduler)
            self._fail(caller, error)

    @staticmethod
    def _fail(caller: TextReceiver, error: BaseException) -> None:
        """Ends a request with this error; if that fails, with another error, or with none. A request that never ends makes its
        caller wait, and its model cannot be unloaded."""
        ends: tuple[Callable[[], None], ...] = (
            lambda: caller.fail(error),
            lambda: caller.fail(RuntimeError(_UNTOLD)),
            caller.close,
        )
        for end in ends:
            try:
                end()
                return
            except BaseException:  # the others must still get their answers
                logger.exception("the sender of a request could not be told that it failed")

    def _look(self) -> None:
        """Cancels the requests of callers that have gone away."""
        with self._changed:
            callers = list(self._callers.items())
        for request_state, caller in callers:
            if self._gone(caller):
                request_state.cancel(self._scheduler)
        self._count(())

    def _gone(self, caller: TextReceiver) -> bool:
        try:
            return caller.gone()
        except BaseException:
            logger.exception("a caller does not say whether it is there; it counts as gone")
            return True

    def _forget(self, request_state: RequestState) -> None:
        with self._changed:
            known = self._callers.pop(request_state, None)
        if known is not None:
            self._count(tuple(request_state.first_token_seconds))

    def _count(self, seconds: Sequence[float]) -> None:
        try:
            self._tick(seconds)
        except BaseException:  # failing statistics must not cost an answer
            logger.exception("the statistics could not be told")
