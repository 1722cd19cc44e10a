"""Proves a served model: asks the live endpoint what PyTorch was asked, and compares. No torch needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .baseline import Baseline
from .compare import Difference, compare, compare_greedy
from .connection import Connection
from .errors import BaselineError
from .generation import Prompt
from .results import Check, Validation
from .served_model import Row, ServedModel
from .streams import Exchange


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
    reference = f"the baseline that was recorded at its export, from {baseline.about['source']}"
    return Validation(name, expected, model.task, baseline.precision, reference, len(baseline), tuple(checks))


def _ask_for_rows(connection: Connection, model: ServedModel, baseline: Baseline) -> tuple[list[Check], set[int]]:
    """Alone, in company of all kinds, and alone once more; and the versions that answered.

    All are compared with PyTorch's answers, and the later ones with what the items got alone as well.
    """
    outputs = list(baseline.answers)
    checks, versions, alone = [], set(), None
    for check, order, rows_each in _orders(baseline, model.max_batch_size):
        inputs = {name: [values[index] for index in order] for name, values in baseline.inputs.items()}
        results = connection.infer_all(list(model.requests(inputs, outputs, rows_each)))
        rows = [row for result in results for row in model.rows(result, outputs)]
        versions |= {int(row["version"]) for row in rows}
        references = [(check, baseline.answers)]
        if alone is not None:
            references.append((f"{check}, against the items alone", alone))
        checks += [Check(name, _compare(baseline, answers, order, rows)) for name, answers in references]
        alone = alone or {output: [row[output] for row in rows] for output in outputs}
    return checks, versions


def _orders(baseline: Baseline, most: int) -> list[tuple[str, list[int], int]]:
    """How items are asked for: (name, indices in order, items of a request). A request of `most` items may repeat some."""
    count = len(baseline)
    forward = list(range(count))
    longest = max(forward, key=lambda index: sum(len(values[index]) for values in baseline.inputs.values()))
    beside = [place for index in forward for place in (index, longest)]
    filled = [index % count for index in range(-(-count // most) * most)]
    return [
        ("one item a request", forward, 1),
        ("two items a request", forward, 2),
        (f"{most} items a request, the most", filled, most),
        ("five items a request, in reverse order", forward[::-1], 5),
        ("each beside the longest", beside, 2),
        ("one item a request, after all others", forward, 1),
    ]


def _ask_for_texts(connection: Connection, model: ServedModel, baseline: Baseline) -> tuple[list[Check], set[int]]:
    """Greedy texts: alone, in company of all kinds, and alone once more; and the versions that answered."""
    expected, most = baseline.greedy(), len(baseline)
    checks, versions = [], set()
    for check, in_flight, stream, reverse in (
        ("one text at a time", 1, False, False),
        ("two texts at a time", 2, False, False),
        ("all texts at once", most, False, False),
        ("all texts at once, as streams, in reverse order", most, True, True),
        ("one text at a time, after all others", 1, False, False),
    ):
        order = -1 if reverse else 1
        with ThreadPoolExecutor(in_flight) as pool:
            prompts = prompts_of(model, baseline, stream)[::order]
            answers = list(pool.map(lambda prompt: list(Exchange.open(connection, prompt)), prompts))
        served = [np.concatenate([answer.token_ids[0] for answer in own]) for own in answers]
        versions |= {own[-1].metadata[0].model_version for own in answers}
        pairs = zip(expected[::order], served, strict=True)
        difference = compare_greedy("token_ids", pairs, baseline.tolerances["token_ids"])
        checks.append(Check(check, (difference,)))
    return checks, versions


def prompts_of(model: ServedModel, baseline: Baseline, stream: bool = False) -> list[Prompt]:
    """The prompts of a baseline, with the settings that its texts were generated with."""
    asked = zip(baseline.inputs["text_input"], baseline.inputs["sampling_parameters"], strict=True)
    return [Prompt(model.name, text, settings, stream) for text, settings in asked]


def _compare(
    baseline: Baseline, answers: Mapping[str, Sequence[np.ndarray]], order: list[int], rows: list[Row]
) -> tuple[Difference, ...]:
    """The rows that items in this order got, compared with answers to them."""
    return tuple(
        compare(
            output,
            [(own[index], row[output]) for index, row in zip(order, rows, strict=True)],
            baseline.tolerances[output],
        )
        for output, own in answers.items()
    )


def _check_same(model: ServedModel, baseline: Baseline) -> None:
    for what, served, recorded in (
        ("task", model.task, baseline.task),
        ("precision", model.settings["precision"], baseline.precision),
        ("preprocessing", model.settings["preprocessing"], baseline.about.get("preprocessing")),
    ):
        if served != recorded:
            raise BaselineError(f"the baseline is not {model.name!r}'s: its {what} is {recorded}, the model's {served}")
