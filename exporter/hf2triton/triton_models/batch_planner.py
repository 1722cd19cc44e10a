"""Cuts a batch of texts into calls of similar length.

Padding costs as much as text, and each call has a fixed overhead. The cheapest plan is found by dynamic programming over the
texts sorted by length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """The limits of calls. `call_price`: the overhead of a call, in padded tokens. `max_rows`, `max_tokens`: the most rows and
    padded tokens of one call (a single row may exceed `max_tokens`). `round_to`: lengths are padded to multiples of it."""

    call_price: float
    max_rows: int
    max_tokens: int
    round_to: int = 1


def plan(lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Returns groups of indices into `lengths`. Each group is one call; every index is in exactly one group.

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
    """The cost of running these groups: for each, the call overhead plus its rows times its longest row."""
    return sum(
        limits.call_price + len(group) * _round_up(max(lengths[index] for index in group), limits.round_to)
        for group in groups
    )


@dataclass(frozen=True)
class Schedule:
    """Groups of rows, the most expensive first. `side_by_side`: each call has one thread, and a free thread takes the next group;
    otherwise calls run one after another, each with all threads."""

    groups: list[list[int]]
    side_by_side: bool


#: The most padded tokens of a call that one thread runs beside others; a single row may exceed them. The data then fits a core's
#: cache: on a CPU, calls of 256 to 1,024 tokens take the least time per token; calls of 4,096 take a fifth more, and more memory.
THREAD_TOKENS = 512
#: The throughput of all threads on one call, as a share of their throughput on one call each: they wait for each other several
#: times in every layer (measured: 0.86 on two idle cores, less if Triton and its clients use them too).
TOGETHER = 0.8


def schedule(lengths: Sequence[int], limits: Limits, workers: int) -> Schedule:
    """The quickest way to run these rows on `workers` threads, by estimate.

    Tries plans with calls of different sizes; small calls cost more in total but are easier to distribute evenly.
    """
    groups = plan(lengths, limits)
    best = Schedule(groups, False)
    if workers > 1 and lengths:
        least = cost(groups, lengths, limits) / (workers * TOGETHER)
        shared = replace(limits, max_tokens=min(limits.max_tokens, THREAD_TOKENS))
        sizes = {max(1, -(-len(lengths) // (workers * parts))) for parts in (1, 2, 4)} | {limits.max_rows}
        for max_rows in sorted(sizes):
            groups = plan(lengths, replace(shared, max_rows=min(max_rows, limits.max_rows)))
            priced = sorted(((cost([group], lengths, limits), group) for group in groups), reverse=True)
            longest = busiest([price for price, _ in priced], workers)
            if longest < least:
                best, least = Schedule([group for _, group in priced], True), longest
    return best


def busiest(costs: Sequence[float], workers: int) -> float:
    """The load of the busiest of `workers`, if each takes the next of these costs as soon as it is free.

    If the highest cost comes first, this is Graham's LPT rule.
    """
    loads = [0.0] * workers
    for one in costs:
        loads[loads.index(min(loads))] += one
    return max(loads)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
