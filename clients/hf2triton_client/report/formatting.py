"""Formats numbers, sizes, loads and contenders for reports."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from ..evaluation.results import Score
from ..loadgen.results import Benchmark, Contender, Load, Measurement

#: Stands for a missing value.
NOTHING = "–"
#: Larger numbers are meaningless, and their sums may overflow.
_HUGE = 1e100


def is_ordinary(value: float) -> bool:
    """Whether a value can be plotted and used in calculations: not NaN, infinite or close to infinity."""
    return abs(value) < _HUGE


def significant(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, without an exponent: 1,234 · 56.7 · 8.90 · 0.0123."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "∞", "-inf": "−∞"}[str(float(value))]
    if value == 0:
        return "0"
    if abs(value) >= _HUGE:
        return f"{value:.{digits - 1}e}"
    value = float(f"{value:.{digits - 1}e}")  # rounded first: 99.96 becomes 100, with one decimal fewer than 99.9
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 12)}f}"


def difference(value: float | None) -> str:
    """A difference between outputs, as short as possible: 0.0059 · 1.2e-06."""
    if value is None or not math.isfinite(value):
        return significant(value)
    return f"{value:.2g}"


def score(value: float | None) -> str:
    return significant(value, 4)


def limit(own: Score) -> str:
    """What a served model's score must reach; NOTHING if PyTorch's score is unknown."""
    if own.pytorch is None:
        return NOTHING
    allowed = -own.allowed if own.higher_is_better else own.allowed
    return f"{'≥' if own.higher_is_better else '≤'} {score(own.pytorch + allowed)}"


def share(value: float | None) -> str:
    """A share in percent; 100 % only if it is complete."""
    if value is None or not math.isfinite(value):
        return significant(value)
    return f"{min(value, 0.999) if value < 1 else value:.1%}"


def cosine(value: float | None) -> str:
    """A cosine with six digits, rounded down: it is shown as 1 only if a float cannot distinguish it from 1."""
    if value is None or not is_ordinary(value):
        return significant(value)
    return f"{math.floor((value + 1e-9) * 1e6) / 1e6:.6f}"


def megabytes(size: float | None) -> str:
    return NOTHING if size is None else significant(size / 1e6)


def times(value: float) -> str:
    """A ratio, as a number of times."""
    return f"{significant(value, 2)}×"


def percent(before: float, after: float) -> str:
    """A change in percent, with its sign; "" if there is no change, or if it cannot be expressed in percent."""
    if before == after or before == 0 or not (is_ordinary(before) and is_ordinary(after)):
        return ""
    change = (after - before) / abs(before) * 100
    digits = 0 if abs(change) >= 9.95 else 1
    return f"{change:+.{digits}f}%".replace("-", "−")


def moment(created_at: str) -> str:
    """An ISO 8601 time as a readable time in UTC."""
    try:
        return f"{datetime.fromisoformat(created_at).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # written by another program, or in a format that Python 3.10 does not know
        return created_at


def items_of(task: str) -> str:
    """The kind of a task's items: texts or images."""
    return "images" if "image" in task else "texts"


def pressure(load: Load) -> str:
    """How many calls a load makes at a time."""
    if load.rate is not None:
        return f"{load.rate:g} calls/s"
    return f"{load.concurrency} in flight"


def size(load: Load) -> str:
    """The size of a call."""
    length = "" if load.length is None else f" of {load.length} tokens"
    return f"{load.batch_size} a call{length}"


def describe(load: Load) -> str:
    return f"{size(load)}, {pressure(load)}"


def is_served(contender: Contender) -> bool:
    """Whether a contender is served by Triton, as users call it."""
    return "triton" in contender.name.lower()


def is_pytorch(contender: Contender) -> bool:
    return "pytorch" in contender.name.lower()


def labels(benchmark: Benchmark) -> list[str]:
    """Labels of the contenders: as short as possible while still distinct, always with the precision."""
    contenders = benchmark.contenders
    parts = [[own.name] if own.precision in own.name.split() else [own.name, own.precision] for own in contenders]
    for more in ("model", "device", "threads"):
        if len(set(map(tuple, parts))) == len(parts):
            break
        for own, label in zip(contenders, parts, strict=True):
            label.append(f"{more} {getattr(own, more)}" if more == "threads" else str(getattr(own, more)))
    return [", ".join(label) for label in parts]


def weight(load: Load) -> tuple[int, int, float, float]:
    """The sort key of loads: small calls first, then few calls."""
    return (load.batch_size, load.length or 0, load.concurrency or 0, load.rate or 0.0)


def of_contender(benchmark: Benchmark, index: int) -> list[Measurement]:
    """The measurements of one contender, lightest load first."""
    own = [one for one in benchmark.measurements if one.contender == index]
    return sorted(own, key=lambda one: weight(one.load))
