"""Reports: what was found in one run, written as JSON and read again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from .machine import describe_machine
from .results import Benchmark, Report, Validation


def new_report(
    server: str = "", validations: Sequence[Validation] = (), benchmarks: Sequence[Benchmark] = ()
) -> Report:
    """What was found just now, on this machine."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Report(now, metadata.version("hf2triton"), describe_machine(), server, tuple(validations), tuple(benchmarks))


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON has it, with what passed said beside it."""
    written = dataclasses.asdict(report)
    written["passed"] = report.passed
    for validation, own in zip(report.validations, written["validations"], strict=True):
        own["passed"] = validation.passed
    return written


def write_report(report: Report, path: Path) -> None:
    """Writes a report in the form that the file's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
