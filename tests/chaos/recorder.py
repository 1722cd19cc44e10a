"""Every call, from when it was sent to what became of it, and the table of all of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .promises import SLACK, Call, Promise, Window, judge

#: How long after its deadline a call counts as hung.
GRACE = SLACK + 2.0
#: Where calls are counted that no fault overlaps.
QUIET = "(none)"
VERDICTS = ("right", "refused", "wrong", "lost", "hung", "broken")
#: Those of which there must be none.
BAD = VERDICTS[2:]
KEPT_CASES = 8

#: The answers of a call: each value with the version that gave it.
Answers = Sequence[tuple[Any, int]]


@dataclass
class Tally:
    """What became of the calls that overlapped a fault. `recoveries`: seconds until all was well again, of each time."""

    injected: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)


class Recorder:
    """Threads may share it. `truth`: (question, version) -> the right values. `crashes`: those of tritonserver that a promise
    names."""

    def __init__(self, truth: dict[tuple[str, int], list[Any]]) -> None:
        self.truth = truth
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.cases: dict[str, list[str]] = defaultdict(list)
        self.sent = self.crashes = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._under_way: dict[int, Call] = {}
        self._hung: set[int] = set()
        self._windows: list[Window] = []
        self._began = time.monotonic()

    # what the scheduler says

    def open(self, fault: str, promise: Promise, **touched: Any) -> Window:
        """From now on a fault may be noticed."""
        window = Window(fault, promise, time.monotonic(), **touched)
        with self._lock:
            self._windows.append(window)
            self.tallies[fault].injected += 1
        return window

    def forget(self) -> None:
        """Faults that ended long before any call that is still under way was sent count no more."""
        with self._lock:
            oldest = min([call.sent for call in self._under_way.values()], default=time.monotonic())
            self._windows = [window for window in self._windows if window.well >= oldest]

    def broken(self, fault: str, text: str) -> None:
        """A promise was not kept that no single call shows."""
        with self._lock:
            self._count("broken", fault, text)

    # what callers say

    def begin(self, caller: str, question: Any, route: str, seconds: float, sent: float | None = None) -> Call:
        now = time.monotonic() if sent is None else sent
        with self._lock:
            call = Call(next(self._numbers), caller, question.name, question.model, question.kind, route, now, seconds)
            self._under_way[call.number] = call
            self.sent += 1
        return call

    def answered(self, call: Call, answers: Answers, ended: float | None = None) -> None:
        wrong = self._difference(call, answers)
        with self._lock:
            if self._ended(call):
                fault = self._fault_of(call, ended or time.monotonic())
                self._count("wrong" if wrong else "right", fault, wrong and f"{self._named(call)}: {wrong}")

    def failed(self, call: Call, error: str, text: str, partial: str | None = None, ended: float | None = None) -> None:
        """`error`: the name of its class. `partial`: what of a streamed text had come."""
        ended = ended or time.monotonic()
        with self._lock:
            if not self._ended(call):
                return
            if partial and not any(
                values[0].startswith(partial) for (name, _), values in self.truth.items() if name == call.question
            ):
                self._count(
                    "wrong", self._fault_of(call, ended), f"{self._named(call)}: a stream began with {partial!r}"
                )
                return
            verdict, why = judge(call, error, bool(partial), ended, self._windows)
            fault = why if verdict == "refused" else self._fault_of(call, ended)
            after = f"{ended - call.sent:.1f} s"
            self._count(verdict, fault, f"{self._named(call)}: {error} after {after} ({why}): {text[:300]}")

    def look(self) -> list[Call]:
        """Those that have just come to be hung."""
        now, found = time.monotonic(), []
        with self._lock:
            for call in self._under_way.values():
                if call.number not in self._hung and now - call.sent > call.seconds + GRACE:
                    self._hung.add(call.number)
                    found.append(call)
                    text = f"{self._named(call)}: no end {now - call.sent:.1f} s after it was sent, deadline {call.seconds} s"
                    self._count("hung", self._fault_of(call, now), text)
        return found

    def under_way(self) -> list[Call]:
        with self._lock:
            return [call for call in self._under_way.values() if call.number not in self._hung]

    @property
    def bad(self) -> int:
        return sum(tally.counts[verdict] for tally in self.tallies.values() for verdict in BAD)

    def table(self) -> str:
        """One line a fault, and the sums."""
        columns = ("fault", "injected", "calls", *VERDICTS, "slowest recovery")
        rows = [columns]
        for fault in sorted(self.tallies, key=lambda name: (name == QUIET, name)):
            tally = self.tallies[fault]
            calls = sum(tally.counts[verdict] for verdict in VERDICTS[:-1])
            slowest = f"{max(tally.recoveries):.1f} s" if tally.recoveries else ""
            rows.append((fault, tally.injected, calls, *(tally.counts[name] for name in VERDICTS), slowest))
        sums = [sum(row[index] for row in rows[1:]) for index in range(1, len(columns) - 1)]
        rows.append(("all", *sums, ""))
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(pairs)
            )
            for pairs in (list(zip(row, widths, strict=True)) for row in texts)
        )

    def _ended(self, call: Call) -> bool:
        """Whether it counts: one that hung is counted already."""
        self._under_way.pop(call.number, None)
        return call.number not in self._hung

    def _difference(self, call: Call, answers: Answers) -> str:
        """What is wrong with them, "" if nothing is."""
        for index, (value, version) in enumerate(answers):
            right = self.truth.get((call.question, version))
            if right is None:
                return f"version {version} answered, which was not asked before"
            if len(right) != len(answers):
                return f"{len(answers)} answers to {len(right)} inputs"
            if not same(right[index], value):
                return f"version {version} gives {right[index]!r} for input {index}, not {value!r}"[:600]
        return "" if answers else "no answer at all"

    def _fault_of(self, call: Call, ended: float) -> str:
        """The first fault that touches a call, else the last one that it overlapped."""
        touched = [one.fault for one in self._windows if one.overlaps(call.sent, ended, call.model, call.route)]
        beside = [one.fault for one in self._windows if one.start <= ended and call.sent <= one.well]
        return [*touched, *reversed(beside), QUIET][0]

    def _named(self, call: Call) -> str:
        return f"[{call.sent - self._began:.1f} s] {call.caller} {call.question}"

    def _count(self, verdict: str, fault: str, text: str | None) -> None:
        self.tallies[fault].counts[verdict] += 1
        if verdict in (*BAD, "refused") and len(self.cases[f"{verdict} {fault}"]) < KEPT_CASES:
            self.cases[f"{verdict} {fault}"].append(text or "")


def same(right: Any, value: Any, tolerance: float = 0.03) -> bool:
    """Whether two values say the same. The order of a ranking is left out: scores that are nearly equal may change places."""
    if isinstance(right, dict):
        return (
            isinstance(value, dict)
            and right.keys() == value.keys()
            and all(same(right[key], value[key], tolerance) for key in right)
        )
    if isinstance(right, list):
        return (
            isinstance(value, list)
            and len(right) == len(value)
            and all(same(one, other, tolerance) for one, other in zip(_ordered(right), _ordered(value), strict=True))
        )
    if isinstance(right, float):
        return isinstance(value, float) and abs(right - value) <= tolerance
    return right == value


def _ordered(values: list[Any]) -> list[Any]:
    """A ranking by its labels; any other list as it is."""
    labelled = all(isinstance(one, dict) and "label" in one for one in values)
    return sorted(values, key=lambda one: one["label"]) if labelled else values
