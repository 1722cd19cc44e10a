"""Proves a served model: asks the live endpoint what PyTorch was asked, and compares. No torch needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .baseline import Baseline
from .compare import Difference, compare
from .connection import Connection
from .errors import BaselineError
from .served_model import Row, ServedModel


@dataclass(frozen=True)
class Check:
    """One way of asking: which, and how far each output was from PyTorch."""

    name: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return all(difference.passed for difference in self.differences)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "differences": [difference.to_json() for difference in self.differences],
        }


@dataclass(frozen=True)
class Validation:
    """The checks of one served model against one baseline."""

    model: str
    version: int
    task: str
    precision: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "task": self.task,
            "precision": self.precision,
            "passed": self.passed,
            "checks": [check.to_json() for check in self.checks],
        }


def validate(connection: Connection, name: str, baseline: Baseline) -> Validation:
    """Asks the served model for each item of the baseline: alone, in batches, and in batches in reverse order.

    Raises BaselineError when the baseline is another model's or another version's, and the errors of the client.
    """
    model = ServedModel.from_config(connection.model_config(name))
    _check_same(model, baseline)
    outputs = list(baseline.answers)
    forward = list(range(len(baseline)))
    checks, versions = [], set()
    for check, order, rows_each in (
        ("one item a request", forward, 1),
        ("requests of several items", forward, model.max_batch_size),
        ("in reverse order", forward[::-1], 5),
    ):
        inputs = {name: [values[index] for index in order] for name, values in baseline.inputs.items()}
        results = connection.infer_all(list(model.requests(inputs, outputs, rows_each)))
        rows = [row for result in results for row in model.rows(result, outputs)]
        versions |= {int(row["version"]) for row in rows}
        checks.append(Check(check, _compare(baseline, order, rows)))
    expected = baseline.about.get("version")
    if versions != {expected}:
        raise BaselineError(
            f"the server answers with version {', '.join(map(str, sorted(versions)))} of {name!r},"
            f" the baseline is of version {expected}"
        )
    return Validation(name, expected, model.task, baseline.precision, tuple(checks))


def _compare(baseline: Baseline, order: list[int], rows: list[Row]) -> tuple[Difference, ...]:
    return tuple(
        compare(
            output,
            [(answers[index], row[output]) for index, row in zip(order, rows, strict=True)],
            baseline.tolerances[output],
        )
        for output, answers in baseline.answers.items()
    )


def _check_same(model: ServedModel, baseline: Baseline) -> None:
    for what, served, recorded in (
        ("task", model.task, baseline.task),
        ("precision", model.settings["precision"], baseline.precision),
        ("preprocessing", model.settings["preprocessing"], baseline.about.get("preprocessing")),
    ):
        if served != recorded:
            raise BaselineError(f"the baseline is not {model.name!r}'s: its {what} is {recorded}, the model's {served}")
