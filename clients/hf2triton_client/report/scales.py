"""The axes of plots. They begin and end at round numbers, and are logarithmic for values far apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .formatting import significant

#: Above this ratio of the largest to the smallest value, a linear axis hides the small values.
_FAR_APART = 30.0
#: Smaller values count as 0.
_NOTHING = 1e-100
#: The most decades on a logarithmic axis, from the largest value down.
_MOST_DECADES = 7
#: The most ticks on a logarithmic axis; more would be too crowded.
_MOST_TICKS = 9
#: The smallest span of an axis, relative to its values. Below it, floats cannot distinguish ticks.
_SMALLEST_SPAN = 1e-9


@dataclass(frozen=True)
class Scale:
    """Maps values to positions: `low` is at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, own = (self._of(one) for one in (self.low, self.high, value))
        return self.start + (own - low) / (high - low) * (self.end - self.start)

    def labels(self) -> list[str]:
        """The labels of the ticks, all with the same number of decimals."""
        return [label.replace("-", "−") for label in self._labels()]

    def _labels(self) -> list[str]:
        if self.logarithmic:
            return [significant(tick, 1) for tick in self.ticks]
        steps = [after - before for before, after in zip(self.ticks, self.ticks[1:], strict=False)]
        power = math.floor(math.log10(min(steps))) if steps else 0
        largest = max(map(abs, self.ticks))
        if largest < 1e-3 or largest >= 1e7:
            digits = max(0, math.floor(math.log10(largest)) - power)
            return [f"{tick:.{digits}e}" if tick else "0" for tick in self.ticks]
        return [f"{tick:,.{max(0, -power)}f}" for tick in self.ticks]

    def _of(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


def linear(low: float, high: float, start: float, end: float, most: int = 6, around: bool = False) -> Scale:
    """An axis with at most `most` ticks, which are multiples of 1, 2 or 5 times a power of ten. It begins and ends at a
    tick, or close to its values if it lies `around` them."""
    if high - low <= max(_SMALLEST_SPAN * max(abs(low), abs(high)), _NOTHING):
        half = abs(low) / 2 if abs(low) > _NOTHING else 0.5
        low, high = low - half, high + half
    step = _step((high - low) / max(1, most - 1))
    if around:
        margin = (high - low) * 0.04
        low, high = low - margin, high + margin
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    return Scale(low, high, start, end, tuple(place * step for place in range(first, last + 1)))


def amounts(values: Sequence[float], start: float, end: float) -> Scale:
    """An axis of amounts, none below 0: from 0, or logarithmic if the amounts are far apart. Values below a logarithmic axis
    are placed at its end."""
    smallest, largest = min((value for value in values if value > 0), default=1.0), max(values, default=1.0)
    if largest / smallest < _FAR_APART:
        return linear(0.0, largest if largest > _NOTHING else 1.0, start, end)
    smallest = max(smallest, largest / 10**_MOST_DECADES)
    powers = range(math.floor(math.log10(smallest)), math.ceil(math.log10(largest)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max((place for place, tick in enumerate(ticks) if tick <= smallest), default=0)  # rounding may leave none
    last = min(place for place, tick in enumerate(ticks) if tick >= largest)
    ticks = ticks[first : last + 1]
    if len(ticks) > _MOST_TICKS:
        shown = [tick for tick in ticks if f"{tick:.0e}".startswith("1")]
        return Scale(ticks[0], ticks[-1], start, end, tuple(shown), True)
    return Scale(ticks[0], ticks[-1], start, end, tuple(ticks), True)


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
