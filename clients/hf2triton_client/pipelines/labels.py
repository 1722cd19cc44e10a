"""Turns logits into named scores, like transformers' classification pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from ..errors import InputError
from ..transport.served_model import Row
from .postprocess import sigmoid, softmax

FUNCTIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


def score_function(given: str | None) -> Callable[[Row], NDArray[Any]]:
    """The function that turns a row's logits into scores: the named function, or the function that transformers applies to
    such a model. Raises InputError."""
    if given is None:
        return lambda row: FUNCTIONS[_default(row["model"].settings)](row["logits"])
    name = str(given).lower()
    if name not in FUNCTIONS:
        raise InputError(f"function_to_apply {given!r} is unknown; known are {', '.join(FUNCTIONS)}")
    return lambda row: FUNCTIONS[name](row["logits"])


def ranking(scores: NDArray[Any], id2label: Mapping[int, str]) -> list[dict[str, Any]]:
    """All labels with their scores, best first; equal scores keep the order of the labels."""
    named = [{"label": id2label[index], "score": score.item()} for index, score in enumerate(scores)]
    return sorted(named, key=lambda entry: entry["score"], reverse=True)


def _default(settings: Mapping[str, Any]) -> str:
    """The function for a model, from the config's problem_type and the number of labels."""
    if settings["problem_type"] == "regression":
        return "none"
    if settings["problem_type"] == "multi_label_classification" or len(settings["id2label"]) == 1:
        return "sigmoid"
    return "softmax"
