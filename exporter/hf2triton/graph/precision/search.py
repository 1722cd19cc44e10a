"""The smallest set that makes a test pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


def smallest_set(
    candidates: Sequence[Item], passes: Callable[[list[Item]], bool], tries: int = 200
) -> list[Item] | None:
    """A subset of `candidates`, in their order, that passes and has no item to spare; None if even all of them fail.

    Bisection finds the shortest prefix that passes, so put the likeliest candidates first. Then items are dropped in ever smaller
    pieces (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002). The search assumes that further
    items do not make a passing set fail. After `tries` calls of `passes` it returns the best set so far, which passes but may
    have items to spare.
    """
    budget = _Budget(passes, tries)
    if not budget.passes(list(candidates)):
        return None
    low, high = -1, len(candidates)  # `high` passes; `low` does not, if it is a length at all
    while high - low > 1:
        middle = (low + high) // 2
        if budget.passes(list(candidates[:middle])):
            high = middle
        else:
            low = middle
    chosen = list(candidates[:high])
    size = max(len(chosen) // 2, 1)
    while chosen:
        start = 0
        while start < len(chosen):
            without = chosen[:start] + chosen[start + size :]
            if budget.passes(without):
                chosen = without
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return chosen


class _Budget(Generic[Item]):
    """Calls `passes` at most `tries` times; every later set counts as failing."""

    def __init__(self, passes: Callable[[list[Item]], bool], tries: int) -> None:
        self._passes = passes
        self._left = tries

    def passes(self, items: list[Item]) -> bool:
        self._left -= 1
        return self._left >= 0 and self._passes(items)
