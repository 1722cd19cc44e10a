"""Proves a served model: asks the live endpoint what PyTorch was asked, and compares. No torch needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from .baseline import Baseline
from .compare import Difference, compare, compare_greedy
from .connection import Connection
from .errors import BaselineError
from .generation import Prompt
from .served_model import Row, ServedModel
from .streams import Exchange


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
    """Asks the served model for each item of the baseline, in several ways.

    Raises BaselineError when the baseline is another model's or another version's, and the errors of the client.
    """
    model = ServedModel.from_config(connection.model_config(name))
    _check_same(model, baseline)
    ask = _ask_for_texts if baseline.task == "text-generation" else _ask_for_rows
    checks, versions = ask(connection, model, baseline)
    expected = baseline.about.get("version")
    if versions != {expected}:
        raise BaselineError(
            f"the server answers with version {', '.join(map(str, sorted(versions)))} of {name!r},"
            f" the baseline is of version {expected}"
        )
    return Validation(name, expected, model.task, baseline.precision, tuple(checks))


def _ask_for_rows(connection: Connection, model: ServedModel, baseline: Baseline) -> tuple[list[Check], set[int]]:
    """Alone, in batches, and in batches in reverse order; and the versions that answered."""
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
    return checks, versions


def _ask_for_texts(connection: Connection, model: ServedModel, baseline: Baseline) -> tuple[list[Check], set[int]]:
    """Greedy texts: alone, all at the same time, and those as streams; and the versions that answered."""
    expected = baseline.greedy()
    checks, versions = [], set()
    for check, stream, in_flight in (
        ("one text at a time", False, 1),
        ("all texts at once", False, len(baseline)),
        ("all texts at once, as streams", True, len(baseline)),
    ):
        prompts = prompts_of(model, baseline, stream)
        with ThreadPoolExecutor(in_flight) as pool:
            answers = list(pool.map(lambda prompt: list(Exchange.open(connection, prompt)), prompts))
        served = [np.concatenate([answer.token_ids[0] for answer in own]) for own in answers]
        versions |= {own[-1].metadata[0].model_version for own in answers}
        pairs = zip(expected, served, strict=True)
        difference = compare_greedy("token_ids", pairs, baseline.tolerances["token_ids"])
        checks.append(Check(check, (difference,)))
    return checks, versions


def prompts_of(model: ServedModel, baseline: Baseline, stream: bool = False) -> list[Prompt]:
    """The prompts of a baseline, with the settings that its texts were generated with."""
    asked = zip(baseline.inputs["text_input"], baseline.inputs["sampling_parameters"], strict=True)
    return [Prompt(model.name, text, settings, stream) for text, settings in asked]


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
