"""Measures how long calls take. Measure each contender of a comparison in its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one text: the median and the 90th percentile of `calls` calls."""

    p50_ms: float
    p90_ms: float
    calls: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """The latency, from the milliseconds of each call."""
        return cls(float(np.percentile(milliseconds, 50)), float(np.percentile(milliseconds, 90)), len(milliseconds))


def measure_latency(
    call: Callable[[Item], object], items: Sequence[Item], calls: int = 60, warm_up: int = 5, seconds: float = 10.0
) -> Latency:
    """Times calls with one item each, cycling through the items, after `warm_up` untimed calls. Makes `calls` calls, or as
    many as fit into `seconds` on a slow or busy machine, but at least one."""
    milliseconds = []
    stop = time.perf_counter() + seconds
    for index in range(warm_up + calls):
        began = time.perf_counter()
        call(items[index % len(items)])
        ended = time.perf_counter()
        milliseconds.append((ended - began) * 1e3)
        if ended > stop and index >= warm_up:
            break
    return Latency.of(milliseconds[warm_up:])
