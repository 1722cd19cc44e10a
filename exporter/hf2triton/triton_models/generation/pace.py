"""How fast texts come on, as measured: when a slot becomes free, and when those who are refused may try again."""

from __future__ import annotations

import random
from collections.abc import Iterable

from .request import GenerationRequest

#: How much of an average the newest value is.
_NEWEST = 0.1
#: Seconds that a caller is told at least and at most, and what is told before anything was measured.
_SHORTEST, _LONGEST, _UNKNOWN = 0.1, 60.0, 1.0


class Pace:
    """`step_seconds`: of a step, which gives each sequence that generates one token. `share`: what part of the tokens that it may
    have a sequence comes to. Both are averages of the last ones, and None before the first."""

    def __init__(self) -> None:
        self.step_seconds: float | None = None
        self.share: float | None = None

    def stepped(self, seconds: float) -> None:
        """A step in which sequences generated has taken so long."""
        self.step_seconds = _average(self.step_seconds, seconds)

    def ended(self, request: GenerationRequest) -> None:
        """A sequence has come to its end."""
        self.share = _average(self.share, request.tokens / request.max_new_tokens)

    def wait(self, ahead: Iterable[GenerationRequest], slots: int) -> float | None:
        """Seconds until whoever comes now gets a slot, with `ahead` generating or waiting; None where nothing was measured."""
        requests = list(ahead)
        if len(requests) < slots:
            return 0.0
        if self.step_seconds is None:
            return None
        left = sum(max(one.max_new_tokens * (self.share or 1.0) - one.tokens, 0.0) for one in requests)
        return left / slots * self.step_seconds

    def pause(self, generating: Iterable[GenerationRequest]) -> float:
        """Seconds after which a caller who was refused may try again: when those that generate have ended and others have their
        slots, and not all callers at the same time."""
        left = max((one.max_new_tokens - one.tokens for one in generating), default=0)
        seconds = _UNKNOWN if self.step_seconds is None else left * (self.share or 1.0) * self.step_seconds
        return min(max(seconds, _SHORTEST), _LONGEST) * random.uniform(0.8, 1.2)


def _average(before: float | None, newest: float) -> float:
    return newest if before is None else before + _NEWEST * (newest - before)
