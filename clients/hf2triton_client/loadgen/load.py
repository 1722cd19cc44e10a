"""Generates load and measures latencies and throughput of any function, in a closed or an open loop.

Closed: each of `concurrency` callers makes its next call when the last one has returned. Open: calls are due at moments drawn
in advance (a Poisson process with a fixed seed), whether or not earlier calls have returned. Their latency counts from the
moment they were due, so it includes waiting behind a slow call.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from .results import Load

#: Calls of an open loop that may be under way at the same time. Later calls wait, and their latency includes the wait.
MOST_CALLERS = 64
#: Seconds that a caller rests after an error, so it does not call a server that refuses at once in a tight loop.
_REST = 0.02


@dataclass(frozen=True)
class Generated:
    """The result of a generating call: the number of tokens, and the seconds until the first token."""

    tokens: int
    first_token_seconds: float


@dataclass(frozen=True)
class Sample:
    """The result of one run of a load. Milliseconds are NaN if no call succeeded.

    `calls`: how many calls succeeded. `first_error`: the message of the first failed call. Latencies are of the calls that
    began within the measured time. Throughput is the work done within it, which includes only a share of the calls at its
    edges.
    """

    calls: int
    errors: int
    first_error: str
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    items_per_second: float
    tokens_per_second: float | None = None
    first_token_ms: float | None = None


@dataclass(frozen=True)
class _Call:
    """`due`: when the call should have begun; `began` and `ended`: when it did, on the clock of `time.perf_counter`."""

    due: float
    began: float
    ended: float
    generated: Generated | None


@dataclass
class _Notes:
    """The notes of all callers. Appending to a list is atomic."""

    calls: list[_Call] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class LoadNotHeld(Exception):
    """A call of an open loop had not begun long after it was due."""


def run_load(
    call: Callable[[Any], object],
    inputs: Sequence[Any],
    load: Load,
    seconds: float,
    warm_up: float = 1.0,
    seed: int = 0,
    most_callers: int = MOST_CALLERS,
) -> Sample:
    """Calls with one input after the other, cycling through the inputs, for `seconds`, after `warm_up` seconds that do not
    count (at least one call alone, and one call by each caller).

    `call` is called from several threads; if it returns a Generated, tokens are counted. Each caller makes at least one call.
    Calls under way at the end are completed. Calls of an open loop that have not begun `seconds` after its end are given up and
    count as errors. An error of the very first call is raised.
    """
    call(inputs[0])
    order = count()  # its `next` is atomic

    def one(due: float, notes: _Notes) -> None:
        """Makes the call that was due at that moment."""
        began = time.perf_counter()
        try:
            result = call(inputs[next(order) % len(inputs)])
        except Exception as error:
            notes.errors.append(f"{type(error).__name__}: {error}")
            time.sleep(_REST)
        else:
            generated = result if isinstance(result, Generated) else None
            notes.calls.append(_Call(due, began, time.perf_counter(), generated))

    def closed(notes: _Notes, seconds: float) -> float:
        begin = time.perf_counter()

        def work() -> None:
            one(time.perf_counter(), notes)
            while (now := time.perf_counter()) < begin + seconds:
                one(now, notes)

        _in_threads(work, load.concurrency or 1)
        return begin

    def opened(rate: float, notes: _Notes, seconds: float) -> float:
        moments = arrivals(rate, seconds, seed)
        places = count()
        begin = time.perf_counter()

        def work() -> None:
            while (place := next(places)) < len(moments):
                due = begin + moments[place]
                now = time.perf_counter()
                if now > begin + 2 * seconds:
                    notes.errors.append(
                        f"{LoadNotHeld.__name__}: {rate:g} calls a second are more than it can do;"
                        f" some had not begun {seconds:g} s after the last was due"
                    )
                    continue
                time.sleep(max(due - now, 0.0))
                one(due, notes)

        _in_threads(work, min(most_callers, len(moments)))
        return begin

    run = closed if load.rate is None else partial(opened, load.rate)
    run(_Notes(), warm_up)
    notes = _Notes()
    begin = run(notes, seconds)
    return _sample(notes, load, begin, seconds)


def arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Moments of a Poisson process with `rate` events per second, in seconds from its start; the first is 0."""
    draw = random.Random(seed)
    moments, moment = [], 0.0
    while moment < seconds:
        moments.append(moment)
        moment += draw.expovariate(rate)
    return moments


def median_of(samples: Sequence[Sample]) -> Sample:
    """One sample that summarises several runs of a load: medians, the sum of the calls, the first error."""

    def middle(name: str) -> float | None:
        values = [value for sample in samples if (value := getattr(sample, name)) is not None and value == value]
        return statistics.median(values) if values else None

    def number(name: str) -> float:
        value = middle(name)
        return float("nan") if value is None else value

    return Sample(
        sum(sample.calls for sample in samples),
        sum(sample.errors for sample in samples),
        next((sample.first_error for sample in samples if sample.first_error), ""),
        number("mean_ms"),
        number("p50_ms"),
        number("p90_ms"),
        number("p99_ms"),
        number("items_per_second"),
        middle("tokens_per_second"),
        middle("first_token_ms"),
    )


def _in_threads(work: Callable[[], None], callers: int) -> None:
    """Runs `work` in `callers` threads at the same time. Returns when all have ended."""
    threads = [threading.Thread(target=work, name=f"load-{index}", daemon=True) for index in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _sample(notes: _Notes, load: Load, begin: float, seconds: float) -> Sample:
    calls, end = notes.calls, begin + seconds
    milliseconds = [(call.ended - call.due) * 1e3 for call in calls]
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)) if calls else (float("nan"),) * 3
    # an open loop that falls behind continues after the end: only the work done by then counts as throughput
    shares = [_share(call, begin, end) for call in calls]
    generated = [(call, texts, share) for call, share in zip(calls, shares, strict=True) if (texts := call.generated)]
    first = [(call.began - call.due + texts.first_token_seconds) * 1e3 for call, texts, _ in generated]
    return Sample(
        len(calls),
        len(notes.errors),
        notes.errors[0] if notes.errors else "",
        float(np.mean(milliseconds)) if calls else float("nan"),
        float(p50),
        float(p90),
        float(p99),
        load.batch_size * sum(shares) / seconds,
        sum(texts.tokens * share for _, texts, share in generated) / seconds if generated else None,
        float(np.median(first)) if first else None,
    )


def _share(call: _Call, begin: float, end: float) -> float:
    """The share of a call that lies between two moments. Counting only whole calls would be too little if calls are long."""
    inside = min(call.ended, end) - max(call.began, begin)
    return max(0.0, min(1.0, inside / max(call.ended - call.began, 1e-9)))
