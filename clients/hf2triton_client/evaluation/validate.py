"""Proves a served model: asks the live endpoint the same questions as PyTorch, and compares the answers. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BaselineError
from ..pipelines.opening import pipeline
from ..transport.connection import Connection
from ..transport.exchange import Exchange
from ..transport.generation import Prompt
from ..transport.served_model import Row, ServedModel
from .baseline import Baseline, Items
from .compare import Difference, compare, compare_greedy
from .latency import Latency, measure_latency
from .places import Axis, Places, axes_of, describe_input
from .questions import ANSWERS, Questions, compare_answers
from .results import Check, Scatter, Score, Validation
from .scores import scores_of

#: How many values of an output are kept for plots.
DRAWN = 500
#: Checks, the versions that answered, and values to plot.
_Asked = tuple[list[Check], set[int], tuple[Scatter, ...]]


def validate(
    connection: Connection, name: str, baseline: Baseline, labelled: Questions | None = None, calls: int = 0
) -> Validation:
    """Asks the served model for each item of the baseline, in several ways, and asks its pipeline the baseline's questions.

    `labelled`: other questions, without PyTorch's answers, which are used only for scores. `calls`: how many calls are timed
    afterwards. Raises BaselineError if the baseline belongs to another model or version, and the errors of the client.
    """
    model = ServedModel.from_config(connection.model_config(name))
    _check_same(model, baseline)
    baseline = baseline.within(model.settings["precision"])
    ask = _ask_for_texts if baseline.task == "text-generation" else _ask_for_rows
    checks, versions, scatters = ask(connection, model, baseline)
    expected = baseline.about.get("version")
    if len(versions) > 1 or expected not in (None, *versions):
        raise BaselineError(
            f"the server answers with version {', '.join(map(str, sorted(versions)))} of {name!r},"
            f" the baseline is of {f'version {expected}' if expected else 'one'}"
        )
    answered, scores = _ask_questions(connection, model, baseline, labelled)
    return Validation(
        name,
        versions.pop(),
        model.task,
        baseline.precision,
        f"PyTorch, as recorded of {baseline.about['source']}",
        sum(map(len, baseline.groups)),
        (*checks, *answered),
        scores,
        scatters,
        served_latency(connection, model, baseline, calls) if calls else None,
    )


def served_latency(connection: Connection, model: ServedModel, baseline: Baseline, calls: int) -> Latency:
    """The latency of a gRPC call that requests the outputs of one item, or one greedy text."""
    if baseline.task == "text-generation":
        prompts = prompts_of(model, baseline)
        return measure_latency(lambda prompt: Exchange.open(connection, prompt).whole(), prompts, calls, warm_up=1)
    requests = list(model.requests(baseline.inputs, list(baseline.answers), 1))
    return measure_latency(connection.infer, requests, calls)


def _ask_questions(
    connection: Connection, model: ServedModel, baseline: Baseline, labelled: Questions | None
) -> tuple[list[Check], tuple[Score, ...]]:
    """Checks of decoded answers, compared with PyTorch's if those are known, and their scores."""
    if baseline.questions is None and labelled is None:
        return [], ()
    checks: list[Check] = []
    scores: tuple[Score, ...] = ()
    with pipeline(model=model.name, connection=connection) as served:
        questions = baseline.questions
        if questions is not None:
            answers = questions.ask(served)
            tolerance, ties = baseline.tolerances[ANSWERS], near_ties(baseline)
            difference = compare_answers(questions.answers, answers, tolerance, ties, questions.describe)
            checks.append(Check("answers, as a pipeline gives them", (difference,)))
            scores = scores_of(model.task, questions, model.id2label, answers, questions.answers)
        if labelled is not None:
            scores += scores_of(model.task, labelled, model.id2label, labelled.ask(served))
    return checks, scores


def near_ties(baseline: Baseline) -> list[bool] | None:
    """Which questions have a near tie: in one of PyTorch's vectors, the two best entries are closer together than the
    tolerance, so either may be the answer. Questions whose vectors were not recorded count as ties too. None if the
    questions are not about the items."""
    found = next((name for name in _TIED if name in baseline.answers), None)
    if found is None or baseline.questions is None or baseline.questions.method:
        return None
    axis = _TIED[found]
    limit = baseline.tolerances[found if found in baseline.tolerances else "token_ids"].max_abs
    tied = []
    for array in baseline.all_answers[found]:
        best = np.sort(array, axis=axis).take([-2, -1], axis=axis) if array.shape[axis] > 1 else np.array([0, np.inf])
        tied.append(bool((np.diff(best, axis=axis) <= limit).any()))
    places = _numbers(baseline)
    asked = [tuple(one.values()) if isinstance(one, Mapping) else (one,) for one in baseline.questions.inputs]
    if any(isinstance(value, list) for one in asked for value in one):  # a question about several items
        return None
    if not any(one in places for one in asked):
        return None
    return [one not in places or tied[places[one]] for one in asked]


def _numbers(baseline: Baseline) -> dict[tuple[str | bytes, ...], int]:
    """Item -> its number among the items of all groups. For a generative model, only the prompt counts."""
    items = [item for group in baseline.groups for item in zip(*group.inputs.values(), strict=True)]
    return {item[:1] if "text_input" in baseline.inputs else item: index for index, item in enumerate(items)}


#: Output -> the axis along which the best entry is the answer.
_TIED = {"top_logits": -1, "span_logits": 0, "logits": -1}


def _ask_for_rows(connection: Connection, model: ServedModel, baseline: Baseline) -> _Asked:
    """Asks for items alone, batched in various ways, and alone once more.

    All answers are compared with PyTorch's. The later answers are also compared with those to the items alone.
    """
    outputs = list(baseline.answers)
    checks: list[Check] = []
    versions: set[int] = set()
    alone_of: list[dict[str, list[NDArray[Any]]]] = []
    for group in baseline.groups:
        alone: dict[str, list[NDArray[Any]]] = {}
        of_its_own = bool(alone_of)
        for check, order, rows_each in (_few_orders if of_its_own else _orders)(group, model.max_batch_size):
            check = f"{group.about}: {check}" if of_its_own else check
            inputs = {name: [values[index] for index in order] for name, values in group.inputs.items()}
            results = connection.infer_all(list(model.requests(inputs, outputs, rows_each)))
            rows = [row for result in results for row in model.rows(result, outputs)]
            versions |= {int(row["version"]) for row in rows}
            references: list[tuple[str, str, Mapping[str, Sequence[NDArray[Any]]]]] = [
                (check, "PyTorch", group.answers)
            ]
            if alone:
                references.append((f"{check}, against the items alone", "alone", alone))
            for name, who, answers in references:
                places = partial(_places, model, group, order, min(rows_each, model.max_batch_size), who)
                checks.append(Check(name, _compare(baseline, answers, order, rows, places)))
            alone = alone or {output: [row[output] for row in rows] for output in outputs}
        alone_of.append(alone)
    return (
        checks,
        versions,
        tuple(_scatter(output, baseline.answers[output], alone_of[0][output]) for output in outputs),
    )


def _scatter(output: str, expected: Sequence[NDArray[Any]], served: Sequence[NDArray[Any]]) -> Scatter:
    """Up to `DRAWN` values of all items, evenly spaced."""
    alike = [pair for pair in zip(expected, served, strict=True) if pair[0].shape == pair[1].shape]
    sides = zip(*alike, strict=True) if alike else ([], [])
    columns = [np.concatenate([np.empty(0), *(array.ravel() for array in side)]) for side in sides]
    count = len(columns[0])
    chosen = np.unique(np.linspace(0, count - 1, min(count, DRAWN)).astype(int))
    return Scatter(output, *(tuple(column[chosen].tolist()) for column in columns))


def _orders(items: Items, most: int) -> list[tuple[str, list[int], int]]:
    """The ways to ask for items: (name, indices in order, items per request). A request of `most` items may repeat some."""
    count = len(items)
    forward = list(range(count))
    longest = max(forward, key=lambda index: sum(len(values[index]) for values in items.inputs.values()))
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


def _few_orders(items: Items, most: int) -> list[tuple[str, list[int], int]]:
    """The same for the checkpoint's own items, but fewer: the real inputs have already shown the effect of batching."""
    alone, *_, reverse, _, _ = _orders(items, most)
    return [alone, reverse]


def _ask_for_texts(connection: Connection, model: ServedModel, baseline: Baseline) -> _Asked:
    """Asks for greedy texts: alone, batched in various ways, and alone once more."""
    baseline = baseline.joined()
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
        items = range(most)[::order]
        places = Places(items, partial(describe_input, baseline.inputs), axes=(Axis("new token"), Axis("token id")))
        difference = compare_greedy("token_ids", pairs, baseline.tolerances["token_ids"], places)
        texts = ["".join(answer.texts[0] for answer in own) for own in answers][::order]
        checks.append(Check(check, (_with_texts(difference, baseline, texts),)))
    return checks, versions, ()


def _with_texts(difference: Difference, baseline: Baseline, served: Sequence[str]) -> Difference:
    """Adds PyTorch's text and the served text if a text causes the breach and PyTorch's is among the decoded answers."""
    worst, questions = difference.worst, baseline.questions
    if worst is None or questions is None or questions.inputs != baseline.inputs["text_input"]:
        return difference
    [answer] = questions.answers[worst.item]
    return replace(difference, worst=worst.with_texts(answer["generated_text"], served[worst.item]))


def prompts_of(model: ServedModel, baseline: Baseline, stream: bool = False) -> list[Prompt]:
    """The prompts of a baseline, with the settings that its texts were generated with."""
    asked = zip(baseline.texts("text_input"), baseline.texts("sampling_parameters"), strict=True)
    return [Prompt(model.name, text, settings, stream) for text, settings in asked]


def _places(model: ServedModel, group: Items, order: list[int], rows_each: int, reference: str, output: str) -> Places:
    """What the rows of an output stand for, if items were requested in this order, `rows_each` per request."""
    return Places(
        items=order,
        describe=partial(describe_input, group.inputs),
        row=lambda pair, index: pair % rows_each,
        axes=axes_of(output, model.settings["outputs"][output], model.id2label),
        reference=reference,
    )


def _compare(
    baseline: Baseline,
    answers: Mapping[str, Sequence[NDArray[Any]]],
    order: list[int],
    rows: list[Row],
    places: Callable[[str], Places],
) -> tuple[Difference, ...]:
    """Compares the rows received for items, in this order, with the recorded answers."""
    return tuple(
        compare(
            output,
            [(own[index], row[output]) for index, row in zip(order, rows, strict=True)],
            baseline.tolerances[output],
            places(output),
        )
        for output, own in answers.items()
    )


def _check_same(model: ServedModel, baseline: Baseline) -> None:
    for what, served, recorded in (
        ("task", model.task, baseline.task),
        ("preprocessing", model.settings["preprocessing"], baseline.about.get("preprocessing")),
    ):
        if served != recorded:
            raise BaselineError(f"the baseline is not {model.name!r}'s: its {what} is {recorded}, the model's {served}")
