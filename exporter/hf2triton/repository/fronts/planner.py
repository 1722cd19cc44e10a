"""Cuts a batch of texts into calls of similar length.

Padding costs as much as text, and each call has a price of its own; the plan with the least total is found by dynamic
programming over the texts sorted by length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """`call_price`: what one more call costs, in padded tokens. `max_rows`, `max_tokens`: the most rows and padded tokens
    of one call (a single row may exceed `max_tokens`). `round_to`: lengths are padded to multiples of it."""

    call_price: float
    max_rows: int
    max_tokens: int
    round_to: int = 1


def plan(lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Groups of indices into `lengths`, each to be run as one call; every index is in exactly one group.

    Minimises `cost`, in O(rows · max_rows).
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    padded = [_round_up(lengths[index], limits.round_to) for index in order]
    # best[j]: the least cost of the first j rows; begin[j]: where the last group of that plan begins
    best = [0.0] + [float("inf")] * len(order)
    begin = [0] * (len(order) + 1)
    for start, longest in enumerate(padded):
        rows = max(1, min(limits.max_rows, limits.max_tokens // max(longest, 1)))
        cost = best[start] + limits.call_price
        for stop in range(start + 1, min(start + rows, len(order)) + 1):
            cost += longest
            if cost < best[stop]:
                best[stop], begin[stop] = cost, start
    groups, stop = [], len(order)
    while stop:
        groups.append(order[begin[stop] : stop])
        stop = begin[stop]
    return groups[::-1]


def cost(groups: Sequence[Sequence[int]], lengths: Sequence[int], limits: Limits) -> float:
    """What running these groups costs: for each its price and its rows times its longest row."""
    return sum(
        limits.call_price + len(group) * _round_up(max(lengths[index] for index in group), limits.round_to)
        for group in groups
    )


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
