"""text-classification, also named sentiment-analysis."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..postprocess import sigmoid, softmax
from ..served_model import Row
from .base import Call, Results, TaskPipeline, batch_size_of, texts_of

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


class TextClassification(TaskPipeline):
    """Labels of texts: `pipe("good") -> [{"label": "POSITIVE", "score": 0.99}]`.

    Inputs: a string, a dict `{"text": …}`, or a list of either. Options, as in transformers: `top_k` (int, or None for
    all labels) and `function_to_apply` ("softmax", "sigmoid", "none"; by default what the checkpoint's config says).
    With `top_k` each text gives a list of labels, best first.
    """

    task = "text-classification"
    aliases = ("sentiment-analysis",)
    options = frozenset({"top_k", "function_to_apply"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        single = not isinstance(inputs, (list, tuple))
        texts = texts_of([_text(value) for value in ([inputs] if single else inputs)])
        function = FUNCTIONS[self._function_name(options.get("function_to_apply"))]
        ranked, top_k = "top_k" in options, options.get("top_k")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k must be 1 or more, or None for all labels, not {top_k!r}")

        def finish(rows: list[Row]) -> Any:
            labels = [self._labels(function(row["logits"])) for row in rows]
            values: list[Any] = [ranking[:top_k] if ranked else ranking[0] for ranking in labels]
            # transformers wraps a lone string's answer in a list, unless the call itself asks for top_k
            if not single or (isinstance(inputs, (str, bytes)) and "top_k" not in options.maps[0]):
                return Results(values, rows)
            return Results(values[0], rows) if ranked else values[0]

        return Call(texts, ("logits",), finish, batch_size_of(options))

    def _labels(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """All labels with their scores, best first; equal scores keep the order of the labels."""
        named = [{"label": self.model.id2label[index], "score": score.item()} for index, score in enumerate(scores)]
        return sorted(named, key=lambda entry: entry["score"], reverse=True)

    def _function_name(self, given: str | None) -> str:
        name = str(given).lower() if given is not None else default_function(self.model.settings)
        if name not in FUNCTIONS:
            raise InputError(f"function_to_apply {given!r} is unknown; known are {', '.join(FUNCTIONS)}")
        return name


def default_function(settings: Mapping[str, Any]) -> str:
    """What transformers applies when it is not told: by the config's problem_type and the number of labels."""
    if settings["problem_type"] == "regression":
        return "none"
    if settings["problem_type"] == "multi_label_classification" or len(settings["id2label"]) == 1:
        return "sigmoid"
    return "softmax"


def _text(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) != {"text"}:
        raise InputError(f"a dict input has the key 'text' alone, not {', '.join(map(repr, value))}")
    return value["text"]
