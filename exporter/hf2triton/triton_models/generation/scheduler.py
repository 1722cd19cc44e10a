"""Continuous batching: requests join and leave a running batch between two steps.

Requests can be submitted and cancelled from any thread. One thread runs the steps (see batch.py). It also calls the callbacks,
and all requests wait for them. An exception in a callback ends its request; the scheduler goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..rows import EXITS
from .batch import Batch
from .decoder import Decoder
from .pace import Pace
from .request import Chooser, Finish, GenerationRequest, Reason

logger = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """The queue is full, or the request would not get a slot in time. The message says when to try again."""


class Stopped(RuntimeError):
    """The scheduler has stopped, because its model is being unloaded."""


@dataclass(frozen=True)
class Statistics:
    """`live`: requests that generate; `joining`: requests whose prompt is being filled in; `queued`: requests that wait for a
    slot. Since the start: `tokens` generated, `steps` taken, and slots `moved` into gaps."""

    live: int
    joining: int
    queued: int
    tokens: int
    steps: int
    moved: int


class Scheduler:
    """Serves requests from a decoder's slots. `max_queue`: how many requests may wait without a slot. `chunk`: the most tokens of
    a prompt that are filled in at once.

    Run it in its own thread with `start` and `stop` (or `with`), or call `step` by hand.
    """

    def __init__(self, decoder: Decoder, max_queue: int, chunk: int = 64) -> None:
        if max_queue < 0:
            raise ValueError(f"max_queue must be 0 or more, not {max_queue}")
        self._decoder = decoder
        self._max_queue = max_queue
        self._batch = Batch(decoder, chunk, self._end)
        self._changed = threading.Condition()  # guards the queue, the count of unfinished requests and `_stopped`
        self._pace = Pace()
        self._queue: deque[GenerationRequest] = deque()
        self._unfinished = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)

    def submit(
        self,
        prompt_ids: Sequence[int],
        sampler: Chooser,
        max_new_tokens: int,
        eos_token_ids: Collection[int],
        on_token: Callable[[int], bool | None],
        on_finish: Callable[[Finish], None],
        within: float | None = None,
    ) -> GenerationRequest:
        """Queues a request, from any thread. `on_token` gets every token, including the one that ends the text, and may return
        False to end it; `on_finish` is called once, after the last token. Both may be called before this returns. `within`:
        seconds after which nobody waits any more; a request that cannot get a slot by then, at the measured pace, is refused.

        A text ends when its slot is full: `max_length - len(prompt_ids) + 1` tokens can follow a prompt. Raises ValueError for
        prompts that do not fit or have tokens that the model lacks, QueueFull, and Stopped.
        """
        prompt, longest = np.array(prompt_ids, np.int64), self._decoder.max_length
        if not 1 <= prompt.size <= longest:
            raise ValueError(f"a prompt must have 1 to {longest} tokens, not {prompt.size}")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {max_new_tokens}")
        for token in (int(prompt.min()), int(prompt.max())):
            self._decoder.check(token)
        most = min(max_new_tokens, longest - prompt.size + 1)
        request = GenerationRequest(
            prompt, sampler, most, frozenset(eos_token_ids), on_token, on_finish, int(prompt[-1])
        )
        with self._changed:
            self.require_room(within)
            self._queue.append(request)
            self._unfinished += 1
            self._changed.notify()
        return request

    def require_room(self, within: float | None = None) -> None:
        """Raises like `submit` if there is no room for another request."""
        with self._changed:
            if self._stopped:
                raise Stopped("the scheduler has stopped")
            if self._unfinished >= self.capacity:
                why = f"as many as may: {self._decoder.slots} slots and a queue of {self._max_queue}"
            elif within and (self._pace.wait(self._unended(), self._decoder.slots) or 0.0) > within:
                why = f"more than end within the {within:.3g} s of this one"
            else:
                return
            pause = self._pace.pause(self._batch.requests)
            raise QueueFull(f"{self._unfinished} requests are running or waiting, {why}; retry after {pause:.1f} s")

    @property
    def capacity(self) -> int:
        """The most requests that run or wait at the same time."""
        return self._decoder.slots + self._max_queue

    def cancel(self, request: GenerationRequest) -> None:
        """Ends a request before the next step, from any thread; does nothing if it has already ended. A token that is being
        handed over at this moment is the last."""
        request.cancelled = True

    def statistics(self) -> Statistics:
        """The current numbers, from any thread. During a step, some may be from before it and others from after it."""
        with self._changed:
            queued = len(self._queue)
        batch = self._batch
        return Statistics(batch.live, int(batch.joining is not None), queued, batch.tokens, batch.steps, batch.moved)

    def step(self) -> bool:
        """Processes at most one piece of a prompt and one token for every live request. Returns False if no request is left."""
        self._drop_cancelled()
        began, tokens = time.perf_counter(), self._batch.tokens
        self._batch.fill_in(self._next_waiting)
        self._batch.advance()
        if self._batch.tokens > tokens:
            self._pace.stepped(time.perf_counter() - began)
        return self._unfinished > 0

    def start(self) -> Scheduler:
        """Runs the steps in a thread, until `stop`."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cancels all requests and returns when the thread has ended, after its current step. Returns at once if called from a
        callback, which runs in that thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.ident is None:  # never started, so no thread would end the waiting requests
            self._end_all("cancelled")
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Scheduler:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        """Runs steps while there are requests and waits while there are none, until `stop`; then cancels the rest."""
        try:
            while self._wait_for_requests():
                self.step()
        except BaseException as error:  # such as SystemExit from a callback; no caller may wait for ever
            logger.exception("the scheduler has failed and serves no more requests")
            self._end_all("error", error)
        else:
            self._end_all("cancelled")

    def _wait_for_requests(self) -> bool:
        """Waits until there are requests. Returns False if the scheduler is to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._unfinished)
            return not self._stopped

    def _next_waiting(self) -> GenerationRequest | None:
        with self._changed:
            return self._queue.popleft() if self._queue else None

    def _unended(self) -> list[GenerationRequest]:
        """All requests that have not ended. After an aborted step, some of the batch have."""
        with self._changed:
            return [request for request in (*self._batch.requests, *self._queue) if request.finish is None]

    def _drop_cancelled(self) -> None:
        for request in self._unended():
            if request.cancelled:
                self._end(request, "cancelled")
        with self._changed:
            self._queue = deque(request for request in self._queue if request.finish is None)
        self._batch.drop_ended()

    def _end_all(self, reason: Reason, error: BaseException | None = None) -> None:
        with self._changed:
            self._stopped = True
        for request in self._unended():
            self._end(request, reason, error)
        with self._changed:
            self._queue.clear()
        self._batch.drop_ended()

    def _end(self, request: GenerationRequest, reason: Reason, error: BaseException | None = None) -> None:
        request.finish = Finish(reason, request.prompt.size, request.tokens, request.first_token_seconds, error)
        with self._changed:
            self._unfinished -= 1
        if reason in ("length", "eos", "stop"):
            self._pace.ended(request)
        try:
            request.on_finish(request.finish)
        except EXITS:
            raise
        except BaseException:  # the request has ended, so nobody is left to tell
            logger.exception("on_finish of a request failed")
