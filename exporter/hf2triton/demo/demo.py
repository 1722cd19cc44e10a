"""The main job end to end on real weights: export, serve, call, prove and measure, for each kind of task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf2triton_client import Connection, connect, pipeline
from hf2triton_client.evaluation.baseline import Baseline, Latency
from hf2triton_client.evaluation.results import Validation
from hf2triton_client.evaluation.validate import validate

from ..build.build import build
from ..build.file import Declared
from ..build.plan import plan_build
from ..core.layout import baseline_path
from ..core.manifest import Manifest, served_manifest
from ..serving import Server
from ..validate.validation import CALLS
from .examples import Show, declared, shows_of

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoFrontend:
    """A frontend in the demo, with its manifest and measurements. Latencies are for one input at a time."""

    show: Show
    name: str
    manifest: Manifest
    baseline: Baseline
    in_process: Latency
    validation: Validation

    def to_json(self) -> dict[str, Any]:
        pytorch, onnxruntime, triton = (one and one.p50_ms for one in _latencies(self))
        return {
            "name": self.name,
            "family": self.manifest.family,
            "task": self.show.task,
            "weight_bytes": self.manifest.parity.weight_bytes,
            "max_abs": self.manifest.parity.max_abs,
            "served_max_abs": _worst(self.validation),
            "passed": self.validation.passed,
            "p50_ms": {"pytorch": pytorch, "onnxruntime": onnxruntime, "triton": triton},
        }


@dataclass(frozen=True)
class DemoResult:
    """The demo's results. `answers`: the name of an entry, what it was asked, and its answer."""

    frontends: tuple[DemoFrontend, ...]
    answers: tuple[tuple[str, str, str], ...]
    show: Show

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(frontend.validation.passed for frontend in self.frontends)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The results as (title, columns, rows)."""
        return _tables(self.frontends, self.answers)

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "answers": [dict(zip(("name", "asked", "answered"), answer, strict=True)) for answer in self.answers],
            "frontends": [frontend.to_json() for frontend in self.frontends],
        }


def run(tasks: Sequence[str], repository: Path, progress: Progress) -> DemoResult:
    """Runs the demo for some tasks or for all. Entries that the repository already holds are not exported again."""
    shows = shows_of(tuple(tasks))
    frontends_of = _build(declared(shows, repository), progress)
    measured = {}
    for name in (name for names in frontends_of.values() for name in names):
        progress(f"{name}: measure onnxruntime in process")
        measured[name] = _measure_in_process(baseline_path(repository, name).parent)
    progress("start Triton")
    with Server(repository) as server, connect(server.url) as connection:
        frontends, answers = [], []
        for show in shows:
            progress(f"{show.name}: ask the served model")
            answers.append((show.name, _question(show), _answer(show, connection)))
            for name in frontends_of[show.name]:
                progress(f"{name}: validate and measure the served model")
                frontends.append(_prove(show, name, repository, measured[name], connection))
    return DemoResult(tuple(frontends), tuple(answers), shows[0])


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


def _prove(show: Show, name: str, repository: Path, in_process: Latency, connection: Connection) -> DemoFrontend:
    manifest, baseline = served_manifest(repository, name), Baseline.load(baseline_path(repository, name))
    return DemoFrontend(show, name, manifest, baseline, in_process, validate(connection, name, baseline, calls=CALLS))


def _measure_in_process(version: Path) -> Latency:
    """Measures in a separate process: even idle, torch's threads disturb onnxruntime's."""
    command = [sys.executable, "-m", "hf2triton.parity.local_runner", str(version)]
    return Latency(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


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
    latency = [
        (frontend.name, *("–" if one is None else f"{one.p50_ms:.1f}" for one in _latencies(frontend)))
        for frontend in frontends
    ]
    precision = frontends[0].baseline.precision
    return (
        ("what was asked of the served models", ("model", "asked", "answered"), answers),
        (
            f"parity with PyTorch, {precision}: largest difference",
            ("model", "family", "task", "MB", "rounded as on a GPU", "through Triton", "result"),
            parity,
        ),
        (
            "one input at a time, median (ms)",
            ("model", "PyTorch fp32", f"ONNX Runtime {precision}", f"Triton {precision}, over gRPC"),
            latency,
        ),
    )


def _worst(validation: Validation) -> float:
    return max(difference.max_abs for check in validation.checks for difference in check.differences)


def _latencies(frontend: DemoFrontend) -> tuple[Latency | None, ...]:
    """The latencies of PyTorch, onnxruntime and Triton."""
    return frontend.baseline.latency, frontend.in_process, frontend.validation.served_latency
