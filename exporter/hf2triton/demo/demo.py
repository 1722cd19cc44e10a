"""The main job end to end on real weights: export, serve, call, prove and measure, for each kind of task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf2triton_client import Connection, connect, pipeline
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.results import Validation
from hf2triton_client.evaluation.validate import validate
from hf2triton_client.report.formatting import labels
from hf2triton_client.report.model import Report

from ..bench.plan import BenchOptions
from ..bench.run import bench
from ..build.build import build
from ..build.file import Declared
from ..build.plan import plan_build
from ..core.layout import baseline_path
from ..core.manifest import Manifest, served_manifest
from ..serving import Server
from .examples import CHECKPOINTS, Show, declared, shows_of

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """The demo's results, as tables of (title, columns, rows), and whether every check passed."""

    tables: tuple[Table, ...]
    passed: bool


@dataclass(frozen=True)
class DemoFrontend:
    """A frontend in the demo, with its manifest and what was found."""

    show: Show
    name: str
    manifest: Manifest
    validation: Validation


def run(tasks: Sequence[str], repository: Path | None, progress: Progress) -> DemoResult:
    """Runs the demo for some tasks or for all. The repository is temporary unless one is given."""
    shows = shows_of(tuple(tasks))
    with tempfile.TemporaryDirectory(prefix="hf2triton-demo-") as temporary:
        repository = repository or Path(temporary) / "model_repository"
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
        passed = all(frontend.validation.passed for frontend in frontends)
        return DemoResult((*_tables(frontends, answers), *_speeds(measured)), passed)


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
    inputs = CHECKPOINTS / show.inputs if isinstance(show.inputs, Path) else show.inputs
    return show.answer(pipeline(show.task, model=show.name, connection=connection)(inputs, **show.options))


def _question(show: Show) -> str:
    """What was asked, on one line."""
    asked = show.inputs
    if isinstance(asked, dict):
        asked = " | ".join(" | ".join(value) if isinstance(value, list) else value for value in asked.values())
    return str(asked) if len(str(asked)) <= 76 else f"{str(asked)[:75]}…"


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
            ("model", "family", "task", "MB", "at export, rounded as on a GPU", "through Triton", "result"),
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
