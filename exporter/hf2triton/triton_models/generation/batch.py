"""The requests that hold slots, and what a step does with them.

A step is at most one piece of one prompt, so that a long prompt does not stall those who are generating, and then one
token for every live request. The live ones hold the first slots, so that one view of the cache takes them all:

    slots   | live, live, live | joining | free, free |

A prompt is filled in, but for its last token, into the slot behind them; then the request is live, and that last token is
the first it is advanced by. When requests end, the last of the live ones move into the gaps: one copy of the filled part of
a slot for each gap, one for whoever joins after such a gap opened, and none in any other step. (The alternative, gaps that
are computed along with the others until somebody takes them, needs no copies but makes whoever is left in the last slot
pay for all slots before it, at every token.)

What a request's own sampler or callback raises ends that request alone. A step of which the session fails is repeated for fewer
of them, so that it ends those alone for which it fails.
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
    """Not thread-safe: only the thread that runs the steps is in here.

    `chunk`: the most tokens of a prompt that are filled in at once. `end`: called once for each request that has ended,
    with the reason and, where that is "error", what was raised; it sets the request's `finish` and raises nothing.
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
        joining = self._joining  # read once, as statistics are asked from other threads
        return joining and joining[1]

    @property
    def requests(self) -> list[GenerationRequest]:
        """All that hold a slot."""
        return [*self._live, *([self._joining[1]] if self._joining else [])]

    def drop_ended(self) -> None:
        """Takes the slots of requests that have been ended from outside."""
        if self._joining and self._joining[1].finish:
            self._joining = None
        self._close_gaps()

    def fill_in(self, next_waiting: Callable[[], GenerationRequest | None]) -> None:
        """One piece of one prompt: of the request that is joining, or else of the one that `next_waiting` gives, where a
        slot is free. Prompts of a single token need none and join at once."""
        while self._joining or self._admit(next_waiting):
            slot, request = self._joining
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
        """One token for every live request."""
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
        """The logits of requests in the slots from `slot` on."""
        return self._decoder.step([one.token for one in requests], [one.cached for one in requests], slot)

    def _admit(self, next_waiting: Callable[[], GenerationRequest | None]) -> bool:
        """Gives the slot behind the live ones to the first who waits."""
        request = next_waiting() if len(self._live) < self._decoder.slots else None
        if request is not None:
            self._joining = (len(self._live), request)
        return request is not None

    def _join(self, slot: int, request: GenerationRequest) -> None:
        self._move(slot, len(self._live), request)  # others may have left since it was admitted
        self._live.append(request)
        self._joining = None

    def _take(self, request: GenerationRequest, logits: NDArray[Any]) -> None:
        """Samples a request's next token and hands it over; ends the request if it was the last."""
        if request.cancelled:  # during this step; whoever has cancelled does not expect a token any more
            self._end(request, "cancelled", None)
            return
        try:
            token = int(request.sampler.next(logits))
            self._decoder.check(token)  # fed to the graph, it would fail everyone
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
