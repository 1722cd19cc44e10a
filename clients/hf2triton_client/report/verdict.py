"""The verdict of a report: whether the served models give PyTorch's answers, and the key figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..evaluation.compare import Difference
from ..evaluation.results import Score, Validation
from ..loadgen.results import Benchmark, Measurement
from . import formatting as words
from .advice import advice_of
from .comparison import Comparison
from .model import Report

#: state -> its word, and a sign that does not depend on colours.
STATES = {"passed": ("Passed", "✓"), "failed": ("Failed", "✗"), "measured": ("Measured", "•")}
#: How many reasons are shown, and how many scores have figures. The tables hold all of them.
_SHOWN, _SCORES = 4, 3


@dataclass(frozen=True)
class Verdict:
    """`state`: one of STATES. `summary`: one sentence. `reasons`: what failed, in order. `advice`: what to try next.
    `cautions`: other points to know."""

    state: str
    summary: str
    reasons: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A key figure: its label, its value with the unit, what to compare it with, and whether it is bad."""

    label: str
    value: str
    beside: str
    bad: bool = False


def verdict(report: Report, comparison: Comparison | None = None) -> Verdict:
    """Whether the report passed and the comparison found no forbidden change, in words."""
    found = _of_validations(report)
    notes = (*dict.fromkeys(_cautions(report)), *(comparison.notes if comparison is not None else ()))
    if comparison is None or not comparison.failures:
        return replace(found, cautions=notes)
    summary = f"{found.summary} The comparison with an earlier run failed."
    return Verdict("failed", summary, (*found.reasons, *_some(comparison.failures)), notes, found.advice)


def _of_validations(report: Report) -> Verdict:
    if report.passed is None:
        measured = report.validations or any(benchmark.measurements for benchmark in report.benchmarks)
        said = "nothing was compared with PyTorch's answers" if measured else "the report holds nothing"
        return Verdict("measured", f"{said[0].upper()}{said[1:]}.")
    if report.passed:
        proved = [own for own in report.validations if own.passed]
        checks = sum(own.compared for own in proved)
        who = _listed([f"{own.model} ({own.precision})" for own in proved])
        give = "gives" if len(proved) == 1 else "give"
        return Verdict("passed", f"{who} {give} PyTorch's answers in {_count(checks, 'check')}.")
    failed = [own for own in report.validations if own.passed is False]
    who = _listed([f"{own.model} ({own.precision})" for own in failed])
    do = "does" if len(failed) == 1 else "do"
    reasons = _some([reason for own in failed for reason in _reasons(own)])
    good = sum(own.passed is True for own in report.validations)
    rest = f" {good} other{' model does' if good == 1 else ' models do'}." if good else ""
    advice = tuple(dict.fromkeys(map(advice_of, failed)))
    return Verdict("failed", f"{who} {do} not give PyTorch's answers.{rest}", reasons, advice=advice)


def figures(report: Report) -> list[list[Figure]]:
    """The key figures, in groups: first closeness, then speed and size for each benchmark, compared with PyTorch's."""
    found = [[*_closeness(report.validations), *_scores(report.validations)]]
    found += [[*_speed(report, benchmark)] for benchmark in report.benchmarks]
    return [group for group in found if group]


def fastest(report: Report, benchmark: Benchmark) -> int | None:
    """The contender whose figures represent the benchmark. Served contenders come first. Among them, contenders with proven
    answers come before those with unchecked answers, and those before contenders with wrong answers. The highest throughput
    decides the rest."""
    proved = {(own.model, own.precision): own.passed for own in report.validations if own.passed is not None}

    def rank(index: int) -> tuple[bool, float, float]:
        own = benchmark.contenders[index]
        return (words.is_served(own), proved.get((own.model, own.precision), 0.5), rate(best(benchmark, index)))

    measured = sorted({one.contender for one in benchmark.measurements})
    return max(measured, key=rank) if measured else None


def best(benchmark: Benchmark, index: int) -> Measurement:
    """The measurement of a contender with the highest throughput."""
    return max(words.of_contender(benchmark, index), key=rate)


def _closeness(validations: tuple[Validation, ...]) -> Iterator[Figure]:
    found = [
        (own, check.name, one) for own in validations for check in own.checks for one in check.differences if one.rows
    ]
    if not found:
        return

    def distance(item: tuple[Validation, str, Difference]) -> tuple[bool, float]:
        return (not item[2].passed, item[2].max_abs if item[2].max_abs == item[2].max_abs else math.inf)

    own, _, one = max(found, key=distance)
    beside = f"{own.model}, {one.output}; {'within' if one.passed else 'out of'} tolerance"
    yield Figure("Largest difference", words.difference(one.max_abs), beside, not one.passed)
    agreeing = [(one.argmax, own.model) for own, _, one in found if one.argmax is not None]
    cosines = [(one.cosine, own.model) for own, _, one in found if one.cosine is not None]
    if agreeing:
        lowest = min(agreeing, key=lambda pair: pair[0])
        yield Figure("Same best answer", words.share(lowest[0]), f"of the rows; {lowest[1]}")
    elif cosines:
        lowest = min(cosines, key=lambda pair: pair[0])
        yield Figure("Smallest cosine", words.cosine(lowest[0]), f"1 is the same; {lowest[1]}")


def _scores(validations: tuple[Validation, ...]) -> Iterator[Figure]:
    found = [(own.model, score) for own in validations for score in own.scores]
    found.sort(key=lambda pair: pair[1].passed is not False)
    for model, score in found[:_SCORES]:
        yield Figure(
            score.name[:1].upper() + score.name[1:],
            words.score(score.served),
            f"{_beside(score)}; {model}, {_count(score.rows, 'row')}",
            score.passed is False,
        )


def _beside(score: Score) -> str:
    if score.pytorch is None:
        return "not compared, PyTorch's is not known"
    return f"PyTorch {words.score(score.pytorch)}, must be {words.limit(score)}"


def _speed(report: Report, benchmark: Benchmark) -> Iterator[Figure]:
    """Speed and size of the contender that represents the benchmark, compared with PyTorch on the same machine."""
    index = fastest(report, benchmark)
    if index is None:
        return
    own, label = benchmark.contenders[index], words.labels(benchmark)[index]
    rivals = [
        place
        for place, one in enumerate(benchmark.contenders)
        if place != index and words.is_pytorch(one) and any(m.contender == place for m in benchmark.measurements)
    ]
    rivals.sort(key=lambda place: benchmark.contenders[place].model != own.model)
    rival = rivals[0] if rivals else None
    mine = words.of_contender(benchmark, index)
    theirs = {one.load: one for one in words.of_contender(benchmark, rival)} if rival is not None else {}
    call = next((one for one in mine if one.load in theirs), mine[0])
    other = theirs.get(call.load)
    beside = f"{_as_fast(other.p50_ms, call.p50_ms)} ({words.significant(other.p50_ms)} ms); " if other else ""
    about = f"{beside}{label}; {words.describe(call.load)}"
    yield Figure("One call, median", f"{words.significant(call.p50_ms)} ms", about)
    most = best(benchmark, index)
    other = best(benchmark, rival) if rival is not None else None
    beside = f"{_as_fast(rate(most), rate(other))} ({words.significant(rate(other))}); " if other else ""
    about = f"{beside}{label}; {words.describe(most.load)}"
    yield Figure("Highest throughput", f"{words.significant(rate(most))} {unit(benchmark, most)}", about)
    for what, mine_bytes, their_bytes in (
        ("Weights", own.weight_bytes, rival is not None and benchmark.contenders[rival].weight_bytes),
        ("Memory", own.memory_bytes, rival is not None and benchmark.contenders[rival].memory_bytes),
    ):
        if mine_bytes is not None:
            beside = f"PyTorch {words.megabytes(their_bytes)} MB; " if their_bytes else ""
            yield Figure(what, f"{words.megabytes(mine_bytes)} MB", f"{beside}{label}")


def rate(measurement: Measurement) -> float:
    """Tokens per second for generative models, items per second for others."""
    tokens = measurement.tokens_per_second
    return measurement.items_per_second if tokens is None else tokens


def unit(benchmark: Benchmark, measurement: Measurement) -> str:
    """The unit of `rate`."""
    return f"{words.items_of(benchmark.task) if measurement.tokens_per_second is None else 'tokens'}/s"


def _as_fast(more: float, less: float) -> str:
    known = less and words.is_ordinary(more) and words.is_ordinary(more / less)
    return f"{words.times(more / less)} as fast as PyTorch" if known else "PyTorch beside it"


def _reasons(validation: Validation) -> Iterator[str]:
    for check in validation.checks:
        for one in check.differences:
            for number, breach in enumerate(one.breaches):
                where = f" – {one.worst.sentence()}" if one.worst and not number else ""
                yield f"{validation.model}, {check.name}: {one.output}: {breach}{where}"
    for score in validation.scores:
        if score.passed is False:
            yield f"{validation.model}: {score.name} is {words.score(score.served)}, {_beside(score)}"


def _cautions(report: Report) -> Iterator[str]:
    for benchmark in report.benchmarks:
        names = words.labels(benchmark)
        for index, label in enumerate(names):
            own = words.of_contender(benchmark, index)
            errors, calls = sum(one.errors for one in own), sum(one.calls for one in own)
            if errors:
                yield f"{label}: {errors} of {_count(calls, 'call')} failed"
        for name, why in benchmark.missing.items():
            yield f"{name} was not measured: {why}"


def _some(sentences: Sequence[str]) -> tuple[str, ...]:
    """The first sentences, and the number of further ones."""
    more = len(sentences) - _SHOWN
    return (*sentences[:_SHOWN], *([f"and {more} more"] if more > 0 else []))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
