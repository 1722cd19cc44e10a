"""A report as one HTML page that needs nothing else: no script, no font, no request; light, dark and on paper.

What it looks like is in data/report.html.j2 and data/report.css. Needs jinja2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import report_words as words
from .report_comparison import Comparison
from .report_plots import (
    MOST_POINTS,
    Bar,
    Line,
    Mark,
    bars,
    finite_pairs,
    lines,
    marker,
    parity_scatter,
    residual_scatter,
)
from .report_tables import (
    Table,
    benchmark_tables,
    comparison_tables,
    machine_table,
    numeric_columns,
    validation_tables,
)
from .report_verdict import STATES, best, figures, rate, unit, verdict
from .results import Benchmark, Load, Report, Validation

_DATA = Path(__file__).parent / "data"
#: What a group of loads is drawn over: the field of Load, and what stands at the axis.
_AXES = (("concurrency", "calls in flight"), ("rate", "calls begun a second"))


@dataclass(frozen=True)
class Figure:
    """A plot with what is said above it, below it, and (marker, label) of its legend."""

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
    environment.filters["svg"] = Markup  # made here, with everything escaped
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
            Figure(f"{one.output}: served and PyTorch's", parity_scatter(one, name, about), _scatter_note(one))
        )
        note = "The same values, enlarged: what lies above 0 is more than PyTorch's."
        plots.append(Figure(f"{one.output}: differences", residual_scatter(one, f"{name}-gap", about), note))
    return {"own": validation, "plots": plots, "tables": [_short(table) for table in validation_tables(validation)]}


def _scatter_note(scatter: Any) -> str:
    drawn, all_of_them = len(finite_pairs(scatter)), len(scatter.pytorch)
    said = f"{min(drawn, MOST_POINTS):,} of the values; on the diagonal both are the same, and the ring is the farthest from it."
    broken = all_of_them - drawn
    return said + (f" NaN or infinite, and so not drawn: {broken:,}." if broken else "")


def _short(table: Table) -> Table:
    """Without what the heading of the section says already."""
    title = {"check": "Checks", "score": "Scores"}.get(table.columns[0], table.title.rpartition(": ")[2].capitalize())
    return replace(table, title=title)


def _benchmark(place: int, benchmark: Benchmark) -> dict[str, Any]:
    measured, contenders = ([*benchmark_tables(benchmark), None, None])[:2]
    return {
        "own": benchmark,
        "over_load": [*_over_loads(place, benchmark)],
        "sizes": [*_by_contender(place, benchmark)],
        "tables": [
            replace(table, title=title)
            for title, table in (("Measurements", measured), ("Contenders", contenders))
            if table is not None
        ],
    }


def _over_loads(place: int, benchmark: Benchmark) -> Iterator[Figure]:
    """Latency over how much is asked at a time, and throughput where that varies; a pair of plots for each size of calls."""
    names = words.labels(benchmark)
    for axis, x_label in _AXES:
        own = [one for one in benchmark.measurements if getattr(one.load, axis) is not None]
        for size in sorted({(one.load.batch_size, one.load.length or 0) for one in own}):
            group = [one for one in own if (one.load.batch_size, one.load.length or 0) == size]
            loads = sorted({getattr(one.load, axis) for one in group})
            series = sorted({one.contender for one in group})

            def line(index: int, value: Any, upper: Any = None, group=group, loads=loads, axis=axis) -> Line:
                own = {loads.index(getattr(one.load, axis)): one for one in group if one.contender == index}
                points = [Mark(at, value(one), upper and upper(one)) for at, one in sorted(own.items())]
                return Line(index, names[index], tuple(points))

            about = words.size(Load(size[0], size[1] or None, None))
            ident = f"b{place}-{axis}-{size[0]}-{size[1]}"
            legend = tuple((marker(index), names[index]) for index in series)
            drawn = [line(index, lambda one: one.p50_ms, lambda one: one.p99_ms) for index in series]
            yield Figure(
                f"Latency, {about}",
                lines(drawn, _places(loads), f"{ident}-ms", f"Latency, {about}", x_label, "ms"),
                "Marks: the median of a call (p50). Whiskers end at p99, which one call in a hundred exceeds.",
                legend,
            )
            if len(loads) > 1 and axis == "concurrency":
                said = unit(benchmark, group[0])
                yield Figure(
                    f"Throughput, {about}",
                    lines(
                        [line(index, rate) for index in series],
                        _places(loads),
                        f"{ident}-rate",
                        f"Throughput, {about}",
                        x_label,
                        said,
                    ),
                    "More is better.",
                    legend,
                )


def _by_contender(place: int, benchmark: Benchmark) -> Iterator[Figure]:
    """Bytes and speed, a bar for each contender, whose name holds its precision."""
    names, measured = words.labels(benchmark), sorted({one.contender for one in benchmark.measurements})
    speed = unit(benchmark, benchmark.measurements[0]) if measured else ""
    megabytes = {"weights": "weight_bytes", "memory": "memory_bytes"}
    for title, said, values in (
        ("Speed by precision", speed, {index: rate(best(benchmark, index)) for index in measured}),
        *(
            (
                f"{what.capitalize()} by precision",
                "MB",
                {
                    index: getattr(own, field) / 1e6
                    for index, own in enumerate(benchmark.contenders)
                    if getattr(own, field) is not None
                },
            )
            for what, field in megabytes.items()
        ),
    ):
        drawn = [Bar(index, names[index], value) for index, value in values.items() if math.isfinite(value)]
        if drawn:
            ident = f"b{place}-{title.split()[0].lower()}"
            note = "The highest throughput under any load; more is better." if said != "MB" else "Less is better."
            yield Figure(title, bars(drawn, ident, title, said), note)


def _places(loads: list[Any]) -> list[str]:
    return [f"{load:g}" for load in loads]
