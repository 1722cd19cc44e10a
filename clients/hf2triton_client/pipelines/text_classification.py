"""text-classification, also named sentiment-analysis."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..labels import ranking, score_function
from ..served_model import Row
from .base import Call, Results, TaskPipeline, positive, texts_of


class TextClassification(TaskPipeline):
    """Labels of texts: `pipe("good") -> [{"label": "POSITIVE", "score": 0.99}]`.

    Inputs: a string, a dict `{"text": …}` or `{"text": …, "text_pair": …}` for models trained on pairs, or a list of
    either. Options, as in transformers: `top_k` (int, or None for all labels) and `function_to_apply` ("softmax",
    "sigmoid", "none"; by default what the checkpoint's config says). With `top_k` each text gives a list of labels,
    best first.
    """

    task = "text-classification"
    aliases = ("sentiment-analysis",)
    also = ("zero-shot-classification",)
    options = frozenset({"top_k", "function_to_apply"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        single = not isinstance(inputs, (list, tuple))
        asked = _columns([inputs] if single else inputs)
        function = score_function(options.get("function_to_apply"), self.model.settings)
        ranked, top_k = "top_k" in options, positive(options, "top_k", "all labels")

        def finish(rows: list[Row]) -> Any:
            labels = [ranking(function(row["logits"]), self.model.id2label) for row in rows]
            values: list[Any] = [ranking[:top_k] if ranked else ranking[0] for ranking in labels]
            # transformers wraps a lone string's answer in a list, unless the call itself asks for top_k
            if not single or (isinstance(inputs, (str, bytes)) and "top_k" not in options.maps[0]):
                return Results(values, rows)
            return Results(values[0], rows) if ranked else values[0]

        return Call([self.ask(asked, ["logits"], options)], finish)


def _columns(values: Sequence[Any]) -> dict[str, list[str]]:
    """Texts, or texts and their pairs. Raises InputError."""
    keys = {frozenset(value) if isinstance(value, dict) else frozenset({"text"}) for value in values}
    for own in keys:
        if own not in (frozenset({"text"}), frozenset({"text", "text_pair"})):
            raise InputError(
                f"a dict input has the keys 'text' and 'text_pair', not {', '.join(map(repr, sorted(own)))}"
            )
    if len(keys) > 1:
        raise InputError("some inputs are pairs and some are not; call the pipeline once for each kind")
    dicts = [value if isinstance(value, dict) else {"text": value} for value in values]
    return {
        name: texts_of([value[name] for value in dicts])
        for name in ("text", "text_pair")
        if not dicts or name in dicts[0]
    }
