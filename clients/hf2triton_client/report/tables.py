"""A report as titled tables, for the terminal, for Markdown, and for the page with its plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..evaluation.compare import Difference
from ..evaluation.results import Validation
from ..loadgen.results import Benchmark, Measurement
from . import formatting as words
from .comparison import Comparison, Measured, lost
from .model import Report
from .verdict import figures

#: The pattern of a numeric cell: one or more numbers, signs, units, and the sign for a missing value.
_NUMBER = re.compile(r"([≥≤] )?[+−-]?(\d[\d,]*(\.\d+)?(e[+-]\d+)?|NaN|∞)( ?(%|×|ms|MB|GB|\w+/s))?|–|")

#: Whether a score passed -> its result. A score without PyTorch's beside it proves nothing.
_SCORED = {True: "ok", False: "worse", None: "not compared"}


@dataclass(frozen=True)
class Table:
    """A table: `rows` with as many cells as there are `columns`. `bad`: indices of rows that report a problem."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: frozenset[int] = frozenset()


def numeric_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each column holds only numbers; such columns are right-aligned."""
    return [
        any(any(map(str.isdigit, cell)) for cell in column) and all(_NUMBER.fullmatch(cell) for cell in column)
        for column in zip(*rows, strict=True)
    ]


def tables(report: Report, comparison: Comparison | None = None) -> list[Table]:
    """Everything in a report except the values of plots: the key figures, the failures, the changes, then the details."""
    found = [figures_table(report), *map(failures_table, report.validations)]
    if comparison:
        found += comparison_tables(comparison)
    for validation in report.validations:
        found += validation_tables(validation)
    for benchmark in report.benchmarks:
        found += benchmark_tables(benchmark)
    return [table for table in [*found, machine_table(report)] if table.rows]


def figures_table(report: Report) -> Table:
    found = [one for group in figures(report) for one in group]
    rows = tuple((one.label, one.value, one.beside) for one in found)
    bad = frozenset(place for place, one in enumerate(found) if one.bad)
    return Table("Figures to decide by", ("figure", "value", "beside it"), rows, bad)


def validation_tables(validation: Validation) -> list[Table]:
    """The checks of a served model, and its scores."""
    own = validation
    about = f"{own.model} version {own.version}: {own.task} in {own.precision}"
    rows: list[tuple[str, ...]] = []
    bad: set[int] = set()
    for check in own.checks:
        for one in check.differences:
            if not one.passed:
                bad.add(len(rows))
            numbers = (words.difference(one.max_abs), words.difference(one.mean_abs))
            alike = (words.cosine(one.cosine), words.share(one.argmax))
            said = "; ".join([*(one.breaches or ("ok",)), *([one.remark] if one.remark else [])])
            rows.append((check.name, one.output, f"{one.rows:,}", *numbers, *alike, said))
    columns = ("check", "output", "rows", "largest", "mean", "cosine", "same best", "result")
    title = f"{about}, {own.items:,} inputs compared with {own.reference}"
    scores = tuple(
        (
            score.name,
            f"{score.rows:,}",
            words.score(score.served),
            words.score(score.pytorch),
            words.limit(score),
            _SCORED[score.passed],
        )
        for score in own.scores
    )
    worse = frozenset(place for place, score in enumerate(own.scores) if score.passed is False)
    named = ("score", "rows", "served", "PyTorch", "must be", "result")
    times = tuple(
        ("served, over gRPC", words.significant(one.p50_ms), words.significant(one.p90_ms), f"{one.calls:,}")
        for one in (own.served_latency,)
        if one is not None
    )
    found = [
        Table(title, columns, tuple(rows), frozenset(bad)),
        Table(f"{about}, scores", named, scores, worse),
        Table(f"{about}, one at a time", ("who", "p50 ms", "p90 ms", "calls"), times),
    ]
    return [table for table in found if table.rows]


def failures_table(validation: Validation) -> Table:
    """The value that causes each failed check and output. Reports of earlier versions do not have it."""
    rows = tuple(
        (check.name, one.output, worst.place, worst.expected, worst.served)
        for check in validation.checks
        for one in check.differences
        if (worst := one.worst) is not None
    )
    columns = ("check", "output", "where", "expected", "served")
    return Table(f"Where {validation.model} failed", columns, rows)


def benchmark_tables(benchmark: Benchmark) -> list[Table]:
    """The measurements of each contender, and the contenders themselves."""
    names, own = words.labels(benchmark), benchmark
    generates = any(one.tokens_per_second is not None for one in own.measurements)
    rows: list[tuple[str, ...]] = []
    bad: set[int] = set()
    for index, label in enumerate(names):
        for one in words.of_contender(benchmark, index):
            if one.errors:
                bad.add(len(rows))
            rows.append((label, words.size(one.load), words.pressure(one.load), *_measured(one, generates)))
    tokens = ("tokens/s", "first token ms") if generates else ()
    speed = f"{words.items_of(own.task)}/s"
    columns = ("contender", "size", "load", "p50 ms", "p90 ms", "p99 ms", "mean ms", speed, *tokens, "calls", "errors")
    title = f"{own.task}: {own.inputs}; medians of {own.rounds} rounds of {words.significant(own.seconds)} s"
    who = tuple(
        (
            label,
            one.model,
            one.device,
            str(one.threads),
            words.megabytes(one.weight_bytes),
            words.megabytes(one.memory_bytes),
            one.remark,
        )
        for label, one in zip(names, own.contenders, strict=True)
    )
    missing = tuple((name, "–", "–", "–", "–", "–", f"not measured: {why}") for name, why in own.missing.items())
    named = ("contender", "model", "device", "threads", "weights MB", "memory MB", "remark")
    found = [
        Table(title, columns, tuple(rows), frozenset(bad)),
        Table(f"{own.task}: the contenders", named, who + missing),
    ]
    return [table for table in found if table.rows]


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Changes between two runs: calls, closeness, scores and memory."""
    pairs = comparison.measurements
    calls = tuple(
        (
            after.label,
            words.describe(after.measurement.load),
            *(
                _change(getattr(before.measurement, name), getattr(after.measurement, name))
                for name in ("p50_ms", "p90_ms", "p99_ms", "items_per_second")
            ),
        )
        for before, after in pairs
    )
    checks = [row for pair in comparison.validations for row in _check_changes(*pair)]
    failing = {place for place, row in enumerate(checks) if row[-1].endswith(_result(False))}
    scores: list[tuple[str, ...]] = []
    fallen: set[int] = set()
    for before, after in comparison.validations:
        known = {score.name: score for score in before.scores}
        for score in after.scores:
            was = known.get(score.name)
            if was and lost(was, score):
                fallen.add(len(scores))
            scores.append(
                (after.model, score.name, words.score(was.served if was else None), words.score(score.served))
            )
    found = [
        Table("What changed: calls", ("contender", "load", "p50 ms", "p90 ms", "p99 ms", "items/s"), calls),
        Table("What changed: weights and memory", ("contender", "weights MB", "memory MB"), _sizes(pairs)),
        Table(
            "What changed: largest differences",
            ("model", "check", "output", "before", "after", "result"),
            tuple(checks),
            frozenset(failing),
        ),
        Table("What changed: scores", ("model", "score", "before", "after"), tuple(scores), frozenset(fallen)),
        Table(
            "In one of the runs only",
            ("run", "measurement"),
            (*(("earlier", str(one)) for one in comparison.lost), *(("later", str(one)) for one in comparison.new)),
        ),
    ]
    return [table for table in found if table.rows]


def machine_table(report: Report) -> Table:
    """The machine and the versions of a report."""
    own = report.machine
    rows = (
        ("made", words.moment(report.created_at)),
        ("server", report.server or words.NOTHING),
        ("CPU", f"{own.cpu}, {own.cores} core{'' if own.cores == 1 else 's'} to use"),
        ("memory", f"{words.significant(own.memory_bytes / 1e9)} GB"),
        *(("GPU", gpu) for gpu in own.gpus),
        ("system", own.system),
        ("Python", own.python),
        ("hf2triton", report.hf2triton),
        *own.packages.items(),
    )
    return Table("Machine and versions", ("what", "which"), rows)


def _check_changes(before: Validation, after: Validation) -> Iterator[tuple[str, ...]]:
    """A row for each check whose largest difference or result has changed, then one row for all other checks."""
    earlier = {(check.name, one.output): one for check in before.checks for one in check.differences}
    same: list[Difference] = []
    for check in after.checks:
        for one in check.differences:
            was = earlier.get((check.name, one.output))
            numbers = (words.difference(was.max_abs if was else None), words.difference(one.max_abs))
            if was and numbers[0] == numbers[1] and was.passed == one.passed:
                same.append(one)
            else:
                state = f"{_result(was.passed) if was else 'not there'} → {_result(one.passed)}"
                yield (after.model, check.name, one.output, *numbers, state)
    if same:
        worst = words.difference(max(one.max_abs for one in same))
        passed = _result(all(one.passed for one in same))
        yield (after.model, f"{len(same)} that are as before", "all", worst, worst, f"{passed} → {passed}")


def _measured(one: Measurement, generates: bool) -> tuple[str, ...]:
    numbers: list[float | None] = [one.p50_ms, one.p90_ms, one.p99_ms, one.mean_ms, one.items_per_second]
    numbers += [one.tokens_per_second, one.first_token_ms] if generates else []
    return (*map(words.significant, numbers), f"{one.calls:,}", f"{one.errors:,}")


def _sizes(pairs: Sequence[tuple[Measured, Measured]]) -> tuple[tuple[str, ...], ...]:
    """A row for each contender whose weights or memory are known."""
    found = {}
    for before, after in pairs:
        was, now = before.contender, after.contender
        sizes = ((was.weight_bytes, now.weight_bytes), (was.memory_bytes, now.memory_bytes))
        if any(size is not None for pair in sizes for size in pair):
            found[after.label] = (after.label, *(_change(*pair, words.megabytes) for pair in sizes))
    return tuple(found.values())


def _change(before: float | None, after: float | None, say: Callable[[float | None], str] = words.significant) -> str:
    if before is None or after is None:
        return words.NOTHING if before is after else f"{say(before)} → {say(after)}"
    change = words.percent(before, after)
    return f"{say(before)} → {say(after)}" + (f" ({change})" if change else "")


def _result(passed: bool) -> str:
    return "ok" if passed else "failed"
