"""A report as one self-contained HTML page without scripts, fonts or requests, for light and dark screens and for paper.

The layout is in data/report.html.j2 and data/report.css. Needs jinja2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..evaluation.results import Scatter, Validation
from ..loadgen.results import Benchmark, Measurement
from . import formatting as words
from .comparison import Comparison
from .model import Report
from .plots import MOST_POINTS, Bar, Line, Mark, bars, finite_pairs, lines, marker, parity_scatter, residual_scatter
from .tables import (
    Table,
    benchmark_tables,
    comparison_tables,
    failures_table,
    machine_table,
    numeric_columns,
    validation_tables,
)
from .verdict import STATES, best, figures, rate, unit, verdict

_DATA = Path(__file__).parents[1] / "data"
#: The x axis for a group of loads: the field of Load, and the label of the axis.
_AXES = (("concurrency", "calls in flight"), ("rate", "calls begun a second"))


@dataclass(frozen=True)
class PlotFigure:
    """A plot with its title, the note below it, and the legend as (marker, label)."""

    title: str
    svg: str
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()


def to_page(report: Report, comparison: Comparison | None = None) -> str:
    """The page, as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_DATA), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = Markup  # made by plots.py, with everything escaped
    environment.filters["numeric"] = lambda table: numeric_columns(table.rows)
    said = verdict(report, comparison)
    models = dict.fromkeys(
        [own.model for own in report.validations]
        + [own.model for benchmark in report.benchmarks for own in benchmark.contenders]
    )
    return environment.get_template("report.html.j2").render(
        css=Markup((_DATA / "report.css").read_text(encoding="utf-8")),
        title=", ".join(models) or "an empty report",
        report=report,
        verdict=said,
        state=STATES[said.state],
        figures=figures(report),
        moment=words.moment(report.created_at),
        failures=[table for table in map(failures_table, report.validations) if table.rows],
        changes=[_short(table) for table in comparison_tables(comparison)] if comparison else [],
        validations=[_validation(place, own) for place, own in enumerate(report.validations)],
        benchmarks=[_benchmark(place, own) for place, own in enumerate(report.benchmarks)],
        machine=machine_table(report),
    )


def _validation(place: int, validation: Validation) -> dict[str, Any]:
    plots = []
    for index, one in enumerate(validation.scatters):
        name, about = f"v{place}-{index}", f"{validation.model}, {one.output}"
        plots.append(
            PlotFigure(f"{one.output}: served and PyTorch's", parity_scatter(one, name, about), _scatter_note(one))
        )
        note = "The same values, enlarged: what lies above 0 is more than PyTorch's."
        plots.append(PlotFigure(f"{one.output}: differences", residual_scatter(one, f"{name}-gap", about), note))
    state = {True: "passed", False: "failed", None: "not compared"}[validation.passed]
    shown = [_short(table) for table in validation_tables(validation)]
    return {"own": validation, "state": state, "plots": plots, "tables": shown}


def _scatter_note(scatter: Scatter) -> str:
    drawn, all_of_them = len(finite_pairs(scatter)), len(scatter.pytorch)
    said = f"{min(drawn, MOST_POINTS):,} of the values; on the diagonal both are the same, and the ring is the farthest from it."
    broken = all_of_them - drawn
    return said + (f" NaN or infinite, and so not drawn: {broken:,}." if broken else "")


def _short(table: Table) -> Table:
    """A table with a shorter title that does not repeat the section's heading."""
    title = {"check": "Checks", "score": "Scores"}.get(table.columns[0], table.title.rpartition(": ")[2].capitalize())
    return replace(table, title=title)


def _benchmark(place: int, benchmark: Benchmark) -> dict[str, Any]:
    titles = {"size": "Measurements", "model": "Contenders"}  # by the second column
    return {
        "own": benchmark,
        "over_load": [*_over_loads(place, benchmark)],
        "sizes": [*_by_contender(place, benchmark)],
        "tables": [replace(table, title=titles[table.columns[1]]) for table in benchmark_tables(benchmark)],
    }


def _over_loads(place: int, benchmark: Benchmark) -> Iterator[PlotFigure]:
    """The plots against the number of simultaneous calls, for each size of calls."""
    for axis, x_label in _AXES:
        alike: dict[str, list[Measurement]] = {}
        for one in sorted(benchmark.measurements, key=lambda one: words.weight(one.load)):
            if getattr(one.load, axis) is not None:
                alike.setdefault(words.size(one.load), []).append(one)
        for number, (size, group) in enumerate(alike.items()):
            yield from _over_load(benchmark, group, f"b{place}-{axis}-{number}", size, axis, x_label)


def _over_load(
    benchmark: Benchmark, group: list[Measurement], name: str, size: str, axis: str, x_label: str
) -> Iterator[PlotFigure]:
    """Latency, and also throughput if the number of calls under way varies."""
    labels, loads = words.labels(benchmark), sorted({getattr(one.load, axis) for one in group})
    places, series = [f"{load:g}" for load in loads], sorted({one.contender for one in group})
    legend = tuple((marker(index), labels[index]) for index in series)

    def drawn(value: Callable[[Measurement], float], upper: Callable[[Measurement], float] | None = None) -> list[Line]:
        found: dict[int, dict[int, Mark]] = {index: {} for index in series}
        for one in group:
            at = loads.index(getattr(one.load, axis))
            found[one.contender][at] = Mark(at, value(one), upper(one) if upper else None)
        return [
            Line(index, labels[index], tuple(mark for _, mark in sorted(own.items()))) for index, own in found.items()
        ]

    latencies = drawn(lambda one: one.p50_ms, lambda one: one.p99_ms)
    yield PlotFigure(
        f"Latency, {size}",
        lines(latencies, places, f"{name}-ms", f"Latency, {size}", x_label, "ms"),
        "Marks: the median of a call (p50). Whiskers end at p99, which one call in a hundred exceeds.",
        legend,
    )
    if axis == "concurrency" and len(loads) > 1:
        said = unit(benchmark, group[0])
        svg = lines(drawn(rate), places, f"{name}-rate", f"Throughput, {size}", x_label, said)
        yield PlotFigure(f"Throughput, {size}", svg, "More is better.", legend)


def _by_contender(place: int, benchmark: Benchmark) -> Iterator[PlotFigure]:
    """Bytes and speed, with a bar for each contender; its label includes the precision."""
    labels, measured = words.labels(benchmark), sorted({one.contender for one in benchmark.measurements})
    speeds: dict[int, float | None] = {index: rate(best(benchmark, index)) for index in measured}
    weights = {index: own.weight_bytes for index, own in enumerate(benchmark.contenders)}
    memory = {index: own.memory_bytes for index, own in enumerate(benchmark.contenders)}
    said = unit(benchmark, benchmark.measurements[0]) if measured else ""
    for title, values, divisor, what, note in (
        ("Speed by precision", speeds, 1, said, "The highest throughput under any load; more is better."),
        ("Weights by precision", weights, 1e6, "MB", "Less is better."),
        ("Memory by precision", memory, 1e6, "MB", "The most that the process took which computes; less is better."),
    ):
        known = {index: value / divisor for index, value in values.items() if value is not None}
        drawn = [Bar(index, labels[index], value) for index, value in known.items() if words.is_ordinary(value)]
        if drawn:
            yield PlotFigure(title, bars(drawn, f"b{place}-{title.split()[0].lower()}", title, what), note)
