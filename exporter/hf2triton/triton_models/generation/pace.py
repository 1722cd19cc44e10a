"""Measures how fast texts progress: when a slot becomes free, and when refused callers may try again."""

from __future__ import annotations

import random
from collections.abc import Iterable

from .request import GenerationRequest

#: The weight of the newest value in an average.
_NEWEST = 0.1
#: The shortest and longest pause that callers are asked to make, and the pause before anything is measured, in seconds.
_SHORTEST, _LONGEST, _UNKNOWN = 0.1, 60.0, 1.0


class Pace:
    """`step_seconds`: the time of a step, in which each generating sequence gets one token. `share`: the share of its allowed
    tokens that a sequence reaches. Both are averages of recent values; None before the first."""

    def __init__(self) -> None:
        self.step_seconds: float | None = None
        self.share: float | None = None

    def stepped(self, seconds: float) -> None:
        """Records the time of a step in which sequences generated."""
        self.step_seconds = _average(self.step_seconds, seconds)

    def ended(self, request: GenerationRequest) -> None:
        """Records the end of a sequence."""
        self.share = _average(self.share, request.tokens / request.max_new_tokens)

    def wait(self, ahead: Iterable[GenerationRequest], slots: int) -> float | None:
        """Seconds until a new request gets a slot, with `ahead` requests generating or waiting; None if nothing has been
        measured."""
        requests = list(ahead)
        if len(requests) < slots:
            return 0.0
        if self.step_seconds is None:
            return None
        left = sum(max(one.max_new_tokens * (self.share or 1.0) - one.tokens, 0.0) for one in requests)
        return left / slots * self.step_seconds

    def pause(self, generating: Iterable[GenerationRequest]) -> float:
        """Seconds after which a refused caller may try again: when the generating sequences have ended and others have their
        slots. Random, so that callers do not all come back at the same time."""
        left = max((one.max_new_tokens - one.tokens for one in generating), default=0)
        seconds = _UNKNOWN if self.step_seconds is None else left * (self.share or 1.0) * self.step_seconds
        return min(max(seconds, _SHORTEST), _LONGEST) * random.uniform(0.8, 1.2)


def _average(before: float | None, newest: float) -> float:
    return newest if before is None else before + _NEWEST * (newest - before)
