"""text-classification, also called sentiment-analysis."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row, as_text
from .base import Results, TaskPipeline, positive
from .labels import ranking, score_function


class TextClassification(TaskPipeline):
    """Labels of texts: `pipe("good") -> [{"label": "POSITIVE", "score": 0.99}]`.

    Inputs: a string, a dict `{"text": …}` or `{"text": …, "text_pair": …}` for models trained on pairs, or a list of either.
    Options, as in transformers: `top_k` (int, or None for all labels) and `function_to_apply` ("softmax", "sigmoid", "none"; by
    default, the checkpoint's config decides). With `top_k`, the result for each text is a list of labels, best first.
    """

    task = "text-classification"
    aliases = ("sentiment-analysis",)
    also = ("zero-shot-classification",)
    options = frozenset({"top_k", "function_to_apply"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        single = not isinstance(inputs, (list, tuple))
        asked = [_text_and_pair(value, index) for index, value in enumerate([inputs] if single else inputs)]
        if not asked:
            raise InputError("the list of texts is empty")
        function = score_function(options.get("function_to_apply"))
        ranked, top_k = "top_k" in options, positive(options, "top_k", "all labels")

        # texts with and without a pair go into separate requests: a frontend's request has either pairs or none
        groups = [
            group
            for paired in (False, True)
            if (group := [index for index, (_, pair) in enumerate(asked) if bool(pair) == paired])
        ]

        def finish(*answers: list[Row]) -> Any:
            found = {
                index: row
                for group, own in zip(groups, answers, strict=True)
                for index, row in zip(group, own, strict=True)
            }
            rows = [found[index] for index in range(len(asked))]
            labels = [ranking(function(row), row["model"].id2label) for row in rows]
            values: list[Any] = [ranking[:top_k] if ranked else ranking[0] for ranking in labels]
            # transformers wraps the answer to a single string in a list, unless the call itself passes top_k
            if not single or (isinstance(inputs, (str, bytes)) and "top_k" not in options.maps[0]):
                return Results(values, rows)
            return Results(values[0], rows) if ranked else values[0]

        return Call(
            [self.ask(_columns([asked[index] for index in group]), ["logits"], options) for group in groups], finish
        )


def _text_and_pair(value: Any, index: int) -> tuple[str, str]:
    """A text and its pair, or "" if it has none; an empty pair counts as none, as in transformers. Raises InputError."""
    given = value if isinstance(value, dict) else {"text": value}
    if set(given) not in ({"text"}, {"text", "text_pair"}):
        raise InputError(f"a dict input has the keys 'text' and 'text_pair', not {', '.join(map(repr, sorted(given)))}")
    pair = given.get("text_pair")
    return as_text(given["text"], index), "" if pair is None else as_text(pair, index)


def _columns(values: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts, or texts and their pairs."""
    texts, pairs = (list(column) for column in zip(*values, strict=True))
    return {"text": texts, "text_pair": pairs} if pairs[0] else {"text": texts}
