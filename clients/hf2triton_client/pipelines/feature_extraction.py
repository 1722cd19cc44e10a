"""feature-extraction: the hidden states of each token."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from ..transport.calls import Call
from ..transport.served_model import Row
from .base import Results, TaskPipeline, texts_of


class FeatureExtraction(TaskPipeline):
    """Hidden states of texts: nested lists of shape `[1, tokens, hidden_size]` for a string, a list of such lists for a list.

    Option `return_tensors`: return numpy arrays (float32, same shapes) instead of lists, which is much faster for long texts.
    Texts that are too long for the model are cut; `transformers.pipeline` fails on them unless truncation is requested.
    """

    task = "feature-extraction"
    options = frozenset({"return_tensors", "truncation"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        texts = texts_of(inputs)
        single = isinstance(inputs, (str, bytes))
        as_tensors = options.get("return_tensors", False)

        def finish(rows: list[Row]) -> Any:
            states = [row["last_hidden_state"][None] for row in rows]
            if as_tensors:
                return states[0] if single else states
            values = [state.tolist() for state in states]
            return Results(values[0] if single else values, rows)

        return Call([self.ask({"text": texts}, ["last_hidden_state"], options)], finish)
