"""Builds a plan, entry by entry. Each entry appears in the repository as a whole or not at all, so an interrupted build can
be resumed by planning and building again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..core.types import ExportReport
from ..errors import Hf2TritonError
from ..export.pipeline import export
from .plan import UNCHANGED, BuildPlan, PlannedEntry

#: Called when a stage begins, with its description and the number of finished entries.
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Built:
    """The result for one entry: its `report`, or the `error` that stopped it."""

    name: str
    report: ExportReport | None = None
    error: Hf2TritonError | None = None

    def to_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"error": str(self.error), "stage": self.error.stage, "exit_code": self.error.exit_code}
        return {} if self.report is None else self.report.to_json()


def build(plan: BuildPlan, progress: Progress = lambda stage, done: None, fail_fast: bool = False) -> Iterator[Built]:
    """Builds the plan's entries one after the other, in the order of the file. A failed entry leaves its place in the
    repository unchanged. It does not stop the others, unless `fail_fast` is set."""
    pending = [entry for entry in plan.entries if entry.state != UNCHANGED]
    for done, entry in enumerate(pending):
        built = _build(entry, partial(_of_entry, progress, entry.name, done))
        yield built
        if built.error is not None and fail_fast:
            return


def _build(entry: PlannedEntry, progress: Callable[[str], None]) -> Built:
    if entry.error is not None:
        return Built(entry.name, error=entry.error)
    try:
        return Built(entry.name, export(entry.options, progress))
    except Hf2TritonError as error:
        return Built(entry.name, error=error)


def _of_entry(progress: Progress, name: str, done: int, stage: str) -> None:
    progress(f"{name}: {stage}", done)
