"""Finds a smallest set that makes a test pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


def smallest_set(
    candidates: Sequence[Item], passes: Callable[[list[Item]], bool], tries: int = 200
) -> list[Item] | None:
    """A subset of `candidates`, in their order, that passes and needs all its items; None if even all candidates fail.

    Bisection finds the shortest prefix that passes, so put the likeliest candidates first. Then the search drops items in ever
    smaller pieces (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002). It assumes that more items
    never make a passing set fail. After `tries` calls of `passes` it returns the best set so far, which passes but may contain
    items that are not needed.
    """
    budget = _Budget(passes, tries)
    if not budget.passes(list(candidates)):
        return None
    low, high = -1, len(candidates)  # `high` passes; `low` fails, unless it is -1
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
    """Calls `passes` at most `tries` times; any later set counts as failing."""

    def __init__(self, passes: Callable[[list[Item]], bool], tries: int) -> None:
        self._passes = passes
        self._left = tries

    def passes(self, items: list[Item]) -> bool:
        self._left -= 1
        return self._left >= 0 and self._passes(items)
