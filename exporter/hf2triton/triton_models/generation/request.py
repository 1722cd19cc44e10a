"""One sequence to generate: what is requested, its state, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

#: length: max_new_tokens, or the slot is full · eos: the model ended its text · stop: on_token returned False
Reason = Literal["length", "eos", "stop", "cancelled", "error"]


class Chooser(Protocol):
    """Chooses the next token of one sequence, as `sampling.Sampler` does."""

    def next(self, logits: NDArray[Any]) -> int:
        """The next token. `logits`: float32 `[vocabulary]`, valid only during the call."""
        ...


@dataclass(frozen=True)
class Finish:
    """How a request ended. `tokens`: how many were generated. `first_token_seconds`: from `submit` to the first of them. `error`:
    the exception, if the reason is "error"."""

    reason: Reason
    prompt_tokens: int
    tokens: int
    first_token_seconds: float | None
    error: BaseException | None = None


@dataclass(eq=False)
class GenerationRequest:
    """One sequence in progress. `Scheduler.submit` makes it, and only the scheduler changes it: `cancelled` from any thread, the
    rest from the thread that runs the steps.

    `max_new_tokens` never exceeds the room in the slot. `token`: the next token to feed. `cached`: how many positions its slot
    holds. `finish` is None until the sequence ends.
    """

    prompt: NDArray[Any]
    sampler: Chooser
    max_new_tokens: int
    eos_token_ids: frozenset[int]
    on_token: Callable[[int], bool | None]
    on_finish: Callable[[Finish], None]
    token: int
    cached: int = 0
    tokens: int = 0
    cancelled: bool = False
    submitted: float = field(default_factory=time.perf_counter)
    first_token_seconds: float | None = None
    finish: Finish | None = None
