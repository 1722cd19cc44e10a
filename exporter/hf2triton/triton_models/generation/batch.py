"""The requests that hold slots, and what a step does with them.

A step is at most one piece of one prompt, then one token for every live request. So a long prompt does not stall the requests
that generate. Live requests hold the first slots, so one view of the cache covers them all:

    slots   | live, live, live | joining | free, free |

A prompt, except its last token, is filled into the slot behind the live ones. Then the request is live, and its first step feeds
that last token. When requests end, the last live ones move into the gaps. This takes one copy of the filled part of a slot for
each gap, one for a request that joins after a gap opened, and none in any other step. (The alternative is to leave gaps and
compute them too until another request takes them. It needs no copies, but a request in the last slot pays for all slots before
it, at every token.)

An exception from a request's sampler or callback ends only that request. If the session fails in a step, the step is repeated for
fewer requests, so only those that make it fail end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from ..rows import EXITS, as_exception, each_row
from .decoder import Decoder
from .request import GenerationRequest, Reason


class Batch:
    """The requests in slots. Not thread-safe: only the thread that runs the steps uses it.

    `chunk`: the most tokens of a prompt that are filled in at once. `end`: called once for each request that ends, with the
    reason and, for "error", the exception; it sets the request's `finish` and raises nothing.
    """

    def __init__(
        self, decoder: Decoder, chunk: int, end: Callable[[GenerationRequest, Reason, Exception | None], None]
    ) -> None:
        if chunk < 1:
            raise ValueError(f"chunk must be 1 or more, not {chunk}")
        self._decoder = decoder
        self._chunk = chunk
        self._end = end
        self._live: list[GenerationRequest] = []  # the index is the slot
        self._joining: tuple[int, GenerationRequest] | None = None  # and its slot
        self.tokens = self.steps = self.moved = 0

    @property
    def live(self) -> int:
        """How many requests generate."""
        return len(self._live)

    @property
    def joining(self) -> GenerationRequest | None:
        """The request whose prompt is being filled in."""
        joining = self._joining  # read once, because other threads ask for statistics
        return joining and joining[1]

    @property
    def requests(self) -> list[GenerationRequest]:
        """All requests that hold a slot."""
        return [*self._live, *([self._joining[1]] if self._joining else [])]

    def drop_ended(self) -> None:
        """Frees the slots of requests that were ended from outside."""
        if self._joining and self._joining[1].finish:
            self._joining = None
        self._close_gaps()

    def fill_in(self, next_waiting: Callable[[], GenerationRequest | None]) -> None:
        """Fills in one piece of one prompt: of the joining request, or if a slot is free, of the request that `next_waiting`
        returns. Prompts of a single token need no piece and join at once."""
        while joining := self._joining or self._admit(next_waiting):
            slot, request = joining
            piece = request.prompt[request.cached : -1][: self._chunk]
            try:
                if piece.size:
                    self._decoder.prefill(slot, piece, request.cached)
                request.cached += piece.size
                if request.cached == request.prompt.size - 1:
                    self._join(slot, request)
            except EXITS:
                raise
            except BaseException as error:
                self._joining = None
                self._end(request, "error", as_exception(error))
            if piece.size:
                break

    def advance(self) -> None:
        """Generates one token for every live request."""
        live = self._live
        if not live:
            return
        rows = each_row(lambda start, stop: self._step(live[start:stop], start), len(live))
        self.steps += not all(isinstance(row, Exception) for row in rows)
        for request, row in zip(live, rows, strict=True):
            if isinstance(row, Exception):
                self._end(request, "error", row)
            else:
                request.cached += 1
                self._take(request, row)
        self._close_gaps()

    def _step(self, requests: Sequence[GenerationRequest], slot: int) -> NDArray[Any]:
        """Runs a step for the requests in the slots from `slot` on, and returns their logits."""
        return self._decoder.step([one.token for one in requests], [one.cached for one in requests], slot)

    def _admit(self, next_waiting: Callable[[], GenerationRequest | None]) -> tuple[int, GenerationRequest] | None:
        """Gives the slot behind the live requests to the first waiting one."""
        request = next_waiting() if len(self._live) < self._decoder.slots else None
        if request is not None:
            self._joining = (len(self._live), request)
        return self._joining

    def _join(self, slot: int, request: GenerationRequest) -> None:
        self._move(slot, len(self._live), request)  # others may have ended since it was admitted
        self._live.append(request)
        self._joining = None

    def _take(self, request: GenerationRequest, logits: NDArray[Any]) -> None:
        """Samples a request's next token and hands it over; ends the request if it was the last."""
        if request.cancelled:  # during this step; the caller no longer expects a token
            self._end(request, "cancelled", None)
            return
        try:
            token = int(request.sampler.next(logits))
            self._decoder.check(token)  # a wrong token would make the graph fail for everyone
            request.token = token
            request.tokens += 1
            self.tokens += 1
            if request.first_token_seconds is None:
                request.first_token_seconds = time.perf_counter() - request.submitted
            more = request.on_token(token)
        except EXITS:
            raise
        except BaseException as error:
            self._end(request, "error", as_exception(error))
            return
        if token in request.eos_token_ids:
            self._end(request, "eos", None)
        elif more is False:
            self._end(request, "stop", None)
        elif request.tokens == request.max_new_tokens:
            self._end(request, "length", None)

    def _close_gaps(self) -> None:
        """Moves the last of the live requests into the slots of those that have ended, each at most once."""
        live, slot = self._live, 0
        while slot < len(live):
            if live[slot].finish is None:
                slot += 1
                continue
            last = live.pop()
            if last.finish is None:
                try:
                    self._move(len(live), slot, last)
                    live[slot] = last
                except EXITS:
                    raise
                except BaseException as error:
                    self._end(last, "error", as_exception(error))

    def _move(self, source: int, target: int, request: GenerationRequest) -> None:
        if source != target:
            self._decoder.move(source, target, request.cached)
            self.moved += 1
