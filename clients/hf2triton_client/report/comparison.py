"""Combines several reports into one. Findings that occur in several reports are compared, the later with the earlier.

Two validations are comparable if they are of the same model. Two measurements are comparable if they are of the same contender
(name, model, precision, device, threads) under the same load. A measurement that only one of two runs has is *lost* if the
earlier run has it, and *new* if the later run has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..evaluation.compare import Difference
from ..evaluation.results import Score, Validation
from ..loadgen.results import Benchmark, Contender, Load, Measurement
from . import formatting as words
from .model import Machine, Report

#: What identifies a measurement: its contender and the load.
Key = tuple[str, str, str, str, int, Load]

#: A largest difference is worse if it grew by more than a quarter, and by more than a tenth of the tightest tolerance for
#: exports in this precision. Another build of a kernel may cause less than that.
GROWTH = 1.25
STEPS = {"fp32": 1e-5, "fp16": 5e-4, "int8": 1e-2}
#: A score is worse if it lost more than this share of its value. A change in the last digits of a perplexity is smaller.
LOSS = 1e-4


@dataclass(frozen=True)
class Measured:
    """A measurement with its contender, and the contender's label in the benchmark."""

    label: str
    contender: Contender
    measurement: Measurement

    @property
    def key(self) -> Key:
        own = self.contender
        return (own.name, own.model, own.precision, own.device, own.threads, self.measurement.load)

    def __str__(self) -> str:
        own = self.contender
        return f"{own.name} ({own.model}, {own.precision}), {words.describe(self.measurement.load)}"


@dataclass(frozen=True)
class Comparison:
    """Findings of two runs, as (earlier, later), findings of only one run, and notes, for example that the runs were made on
    different machines. `alone`: findings without any counterpart in another run. `failures`: forbidden changes that
    happened."""

    measurements: tuple[tuple[Measured, Measured], ...] = ()
    validations: tuple[tuple[Validation, Validation], ...] = ()
    lost: tuple[Measured, ...] = ()
    new: tuple[Measured, ...] = ()
    alone: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.measurements or self.validations)


def combine(reports: Sequence[Report]) -> tuple[Report, Comparison]:
    """One report made from several, which are given in chronological order, and the changes between them.

    If a finding occurs more than once, the last occurrence is kept and compared with the one before.
    """
    latest = reports[-1]
    validations: dict[str, list[tuple[int, Validation]]] = {}
    measured: dict[Key, list[tuple[int, Measured]]] = {}
    for index, report in enumerate(reports):
        for own in report.validations:
            validations.setdefault(own.model, []).append((index, own))
        for one in _measured(report):
            measured.setdefault(one.key, []).append((index, one))
    last_of = {found[-1][1].contender.model: 0 for found in measured.values()}
    pairs = [found for found in measured.values() if len(found) > 1]
    for found in pairs:
        model = found[-1][1].contender.model
        last_of[model] = max(last_of[model], found[-1][0])
    lost: list[Measured] = []
    new: list[Measured] = []
    alone: list[Measured] = []
    for found in measured.values():
        if len(found) > 1:
            continue
        index, one = found[0]
        last = last_of[one.contender.model]
        if last == 0:
            alone.append(one)
        else:
            (lost if index < last else new).append(one)
    dropped = {one.key for one in lost}
    kept = {key: found[-1] for key, found in measured.items() if key not in dropped}
    runs = [[index for index, _ in found] for found in validations.values()]
    runs += [[index for index, _ in found] for found in pairs]
    involved = sorted({(indices[-2], indices[-1]) for indices in runs if len(indices) > 1})
    benchmarks = _benchmarks(reports, kept)
    comparison = Comparison(
        tuple((found[-2][1], found[-1][1]) for found in pairs),
        tuple((found[-2][1], found[-1][1]) for found in validations.values() if len(found) > 1),
        tuple(lost),
        tuple(new),
        (
            *(f"the validation of {model}" for model, found in validations.items() if len(found) == 1),
            *(f"the measurement of {one}" for one in alone if words.is_served(one.contender)),
        ),
        (
            *dict.fromkeys(note for pair in involved for note in machine_notes(*(reports[one] for one in pair))),
            *_earlier(
                latest,
                [
                    *((reports[found[-1][0]], f"the validation of {model}") for model, found in validations.items()),
                    *((report, f"the speed of {_models(benchmark)}") for report, benchmark in benchmarks),
                ],
            ),
        ),
    )
    servers = dict.fromkeys(report.server for report in reports if report.server)
    together = replace(
        latest,
        server=latest.server or ", ".join(servers),
        validations=tuple(found[-1][1] for found in validations.values()),
        benchmarks=tuple(benchmark for _, benchmark in benchmarks),
    )
    return together, comparison


def slower(comparison: Comparison, allowed: float) -> list[str]:
    """Lists what became slower by more than the share `allowed` (0.1 is 10 %): the median of a call, or the throughput. Only
    contenders that Triton serves count."""
    found = []
    for before, after in comparison.measurements:
        if not words.is_served(after.contender):
            continue
        earlier, later = before.measurement, after.measurement
        figures = [("p50", "ms", earlier.p50_ms, later.p50_ms, later.p50_ms > earlier.p50_ms * (1 + allowed))]
        figures.append(_throughput("items/s", earlier.items_per_second, later.items_per_second, allowed))
        if earlier.tokens_per_second is not None and later.tokens_per_second is not None:
            figures.append(_throughput("tokens/s", earlier.tokens_per_second, later.tokens_per_second, allowed))
        sentences = [
            f"{name} {words.significant(was)} → {words.significant(now)} {unit}{_bracketed(words.percent(was, now))}"
            for name, unit, was, now, failed in figures
            if failed or now != now  # NaN: nothing was measured
        ]
        if sentences:
            found.append(f"{after}: {', '.join(sentences)}")
    return found


def worse(comparison: Comparison) -> list[str]:
    """Lists answers that became worse: a check that passed fails or is gone, a largest difference grew by more than GROWTH
    and STEPS allow, fewer best answers are the same, or a score fell by more than LOSS or is gone."""
    return [sentence for pair in comparison.validations for sentence in _worse(*pair)]


def missing(comparison: Comparison, *, measurements: bool = False, validations: bool = False) -> list[str]:
    """Lists findings that should be compared but have no counterpart."""
    found = []
    if measurements:
        found += [f"the later run did not measure {one}" for one in comparison.lost if words.is_served(one.contender)]
        found += [f"only one file holds {one}" for one in comparison.alone if one.startswith("the measurement")]
        if not any(words.is_served(after.contender) for _, after in comparison.measurements) and not found:
            found.append("no two files hold the same measurement of a served model")
    if validations:
        found += [f"only one file holds {one}" for one in comparison.alone if one.startswith("the validation")]
        if not comparison.validations and not found:
            found.append("no two files hold a validation of the same model")
    return found


def machine_notes(earlier: Report, later: Report) -> list[str]:
    """Differences between the machines of two runs that affect the measurements."""
    ours, theirs = _machine(later.machine), _machine(earlier.machine)
    notes = [
        f"the runs differ in {name}: {theirs.get(name, 'none')} → {ours.get(name, 'none')}"
        for name in dict.fromkeys([*theirs, *ours])
        if ours.get(name) != theirs.get(name)
    ]
    if any(note.startswith(f"the runs differ in {name}:") for note in notes for name in ("CPU", "cores", "GPUs")):
        notes.insert(0, "the runs were made on different machines: their times cannot be compared")
    return notes


def _earlier(latest: Report, findings: Sequence[tuple[Report, str]]) -> Iterator[str]:
    """A note for each finding that comes from another run than the latest, whose machine and moment head the report."""
    for report, what in findings:
        if report is not latest:
            yield f"{what} is from an earlier run, {words.moment(report.created_at)}, on {report.machine.cpu}"


def _models(benchmark: Benchmark) -> str:
    return ", ".join(dict.fromkeys(own.model for own in benchmark.contenders))


def _machine(machine: Machine) -> dict[str, str]:
    told = {"CPU": machine.cpu, "cores": str(machine.cores), "GPUs": ", ".join(machine.gpus), "Python": machine.python}
    return {name: value for name, value in (told | dict(machine.packages)).items() if value}


def _bracketed(change: str) -> str:
    return f" ({change})" if change else ""


def _throughput(unit: str, was: float, now: float, allowed: float) -> tuple[str, str, float, float, bool]:
    return "throughput", unit, was, now, now < was * (1 - allowed)


def _worse(before: Validation, after: Validation) -> Iterator[str]:
    earlier, later = _differences(before), _differences(after)
    for (check, output), was in earlier.items():
        about, now = f"{after.model}, {check}, {output}", later.get((check, output))
        if now is None:
            yield f"{about}: it was checked before and is not any more"
        elif was.passed and not now.passed:
            yield f"{about}: it passed before, and now {'; '.join(now.breaches)}"
        else:
            yield from (f"{about}: {sentence}" for sentence in _further(was, now, STEPS.get(after.precision, 0.0)))
    scores = {own.name: own for own in after.scores}
    for own in before.scores:
        if own.name not in scores:
            yield f"{after.model}: {own.name} was scored before and is not any more"
            continue
        if own.pytorch is not None and scores[own.name].pytorch is None:
            yield f"{after.model}: {own.name} was compared with PyTorch's before and is not any more"
        if lost(own, scores[own.name]):
            scored = " → ".join(words.score(one.served) for one in (own, scores[own.name]))
            yield f"{after.model}: {own.name} {scored}"


def lost(before: Score, after: Score) -> bool:
    """Whether a score is worse than before; a NaN is worse than any number."""
    loss = before.served - after.served if after.higher_is_better else after.served - before.served
    return before.served == before.served and not loss <= LOSS * abs(before.served)


def _further(was: Difference, now: Difference, step: float) -> Iterator[str]:
    grown = now.max_abs > was.max_abs * GROWTH and now.max_abs - was.max_abs > step
    if grown or (math.isnan(now.max_abs) and not math.isnan(was.max_abs)):
        yield f"largest difference {words.difference(was.max_abs)} → {words.difference(now.max_abs)}"
    if was.argmax is not None and now.argmax is not None and now.argmax < was.argmax:
        yield f"same best answers {words.share(was.argmax)} → {words.share(now.argmax)}"


def _differences(validation: Validation) -> dict[tuple[str, str], Difference]:
    return {(check.name, one.output): one for check in validation.checks for one in check.differences}


def _measured(report: Report) -> Iterator[Measured]:
    for benchmark in report.benchmarks:
        names = words.labels(benchmark)
        for one in benchmark.measurements:
            yield Measured(names[one.contender], benchmark.contenders[one.contender], one)


def _benchmarks(reports: Sequence[Report], kept: dict[Key, tuple[int, Measured]]) -> list[tuple[Report, Benchmark]]:
    """The benchmarks with their kept measurements, each with its report. Those of several runs stay apart: figures side by side
    come from one run."""
    found = []
    for index, report in enumerate(reports):
        for benchmark in report.benchmarks:
            own = [
                one for one in benchmark.measurements if _is_kept(kept, index, benchmark.contenders[one.contender], one)
            ]
            places = sorted({one.contender for one in own})
            if own or report is reports[-1]:
                contenders = tuple(benchmark.contenders[place] for place in places)
                measurements = tuple(replace(one, contender=places.index(one.contender)) for one in own)
                found.append((report, replace(benchmark, contenders=contenders, measurements=measurements)))
    return found


def _is_kept(kept: dict[Key, tuple[int, Measured]], index: int, contender: Contender, one: Measurement) -> bool:
    found = kept.get(Measured("", contender, one).key)
    return found is not None and found[0] == index
