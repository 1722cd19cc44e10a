"""The main job end to end on real weights: export, serve, call, prove and measure, for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf2triton_client import Connection, connect, pipeline
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.results import Validation
from hf2triton_client.evaluation.validate import validate
from hf2triton_client.report.formatting import labels
from hf2triton_client.report.json_form import to_json
from hf2triton_client.report.model import Report

from ..bench.plan import BenchOptions
from ..bench.run import bench
from ..build.build import build
from ..build.file import Declared
from ..build.plan import plan_build
from ..core.layout import baseline_path
from ..core.manifest import Manifest, served_manifest
from ..serving import Server
from .examples import Show, declared, shows_of

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoFrontend:
    """A frontend in the demo, with its manifest and what was found."""

    show: Show
    name: str
    manifest: Manifest
    validation: Validation

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "family": self.manifest.family,
            "task": self.show.task,
            "weight_bytes": self.manifest.parity.weight_bytes,
            "max_abs": self.manifest.parity.max_abs,
            "served_max_abs": _worst(self.validation),
            "passed": self.validation.passed,
        }


@dataclass(frozen=True)
class DemoResult:
    """The demo's results. `answers`: the name of an entry, what it was asked, and its answer. `measured`: a short benchmark."""

    frontends: tuple[DemoFrontend, ...]
    answers: tuple[tuple[str, str, str], ...]
    measured: Report
    show: Show

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(frontend.validation.passed for frontend in self.frontends)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The results as (title, columns, rows)."""
        return (*_tables(self.frontends, self.answers), *_speeds(self.measured))

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "answers": [dict(zip(("name", "asked", "answered"), answer, strict=True)) for answer in self.answers],
            "frontends": [frontend.to_json() for frontend in self.frontends],
            "benchmarks": to_json(self.measured)["benchmarks"],
        }


def run(tasks: Sequence[str], repository: Path, progress: Progress) -> DemoResult:
    """Runs the demo for some tasks or for all. Entries that the repository already holds are not exported again."""
    shows = shows_of(tuple(tasks))
    frontends_of = _build(declared(shows, repository), progress)
    progress("start Triton")
    with Server(repository) as server, connect(server.url) as connection:
        frontends, answers = [], []
        for show in shows:
            progress(f"{show.name}: ask the served model")
            answers.append((show.name, _question(show), _answer(show, connection)))
            for name in frontends_of[show.name]:
                progress(f"{name}: validate the served model")
                frontends.append(_prove(show, name, repository, connection))
        measured = bench(_measurement(shows[0].name, repository, server.url), progress)
    return DemoResult(tuple(frontends), tuple(answers), measured, shows[0])


def _measurement(name: str, repository: Path, url: str) -> BenchOptions:
    """A short benchmark: PyTorch, onnxruntime and the server take turns, one call at a time."""
    contenders = ("pytorch", "onnxruntime", "grpc")
    return BenchOptions(
        (name,), url, repository, concurrencies=(1,), seconds=1.0, rounds=3, contenders=contenders, devices=("cpu",)
    )


def _build(declared: Declared, progress: Progress) -> dict[str, tuple[str, ...]]:
    """Builds what the repository does not hold yet. Returns the frontends of each entry. Raises the errors of an export."""
    plan = plan_build(declared)
    for built in build(plan, lambda stage, done: progress(stage), fail_fast=True):
        if built.error is not None:
            raise built.error
    return {entry.name: entry.frontends for entry in plan.entries}


def _answer(show: Show, connection: Connection) -> str:
    return show.answer(pipeline(show.task, model=show.name, connection=connection)(show.inputs, **show.options))


def _question(show: Show) -> str:
    """What was asked, on one line."""
    return " | ".join(show.words)


def _prove(show: Show, name: str, repository: Path, connection: Connection) -> DemoFrontend:
    manifest, baseline = served_manifest(repository, name), Baseline.load(baseline_path(repository, name))
    return DemoFrontend(show, name, manifest, validate(connection, name, baseline))


def _tables(frontends: Sequence[DemoFrontend], answers: Sequence[Sequence[str]]) -> tuple[Table, ...]:
    parity = [
        (
            frontend.name,
            frontend.manifest.family,
            frontend.show.task,
            f"{frontend.manifest.parity.weight_bytes / 1e6:.1f}",
            f"{frontend.manifest.parity.max_abs:.1e}",
            f"{_worst(frontend.validation):.1e}",
            "ok" if frontend.validation.passed else "FAILED",
        )
        for frontend in frontends
    ]
    precision = frontends[0].validation.precision
    return (
        ("what was asked of the served models", ("model", "asked", "answered"), answers),
        (
            f"parity with PyTorch, {precision}: largest difference",
            ("model", "family", "task", "MB", "rounded as on a GPU", "through Triton", "result"),
            parity,
        ),
    )


def _speeds(report: Report) -> Iterator[Table]:
    """What the contenders took, measured in turn."""
    for benchmark in report.benchmarks:
        names = labels(benchmark)
        rows = [(names[one.contender], f"{one.p50_ms:.1f}", f"{one.p90_ms:.1f}") for one in benchmark.measurements]
        models = ", ".join(dict.fromkeys(own.model for own in benchmark.contenders))
        yield f"{models}: one input at a time, in turn (ms)", ("who", "median", "90th percentile"), rows


def _worst(validation: Validation) -> float:
    return max(difference.max_abs for check in validation.checks for difference in check.differences)
