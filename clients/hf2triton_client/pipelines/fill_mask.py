"""fill-mask: the most likely tokens for a mask."""

from __future__ import annotations

import json
from collections import ChainMap
from typing import Any

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row
from .base import Results, TaskPipeline, positive, texts_of


class FillMask(TaskPipeline):
    """The most likely tokens for the mask of a text, best first: dicts with `score`, `token` (its id), `token_str` and
    `sequence` (the text with the token). For a text with several masks: a list for each mask.

    Options, as in transformers: `top_k` (default 5) and `targets` (a string or a list: the tokens to choose from).
    """

    task = "fill-mask"
    options = frozenset({"top_k", "targets"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        texts = texts_of(inputs)
        targets = options.get("targets")
        if isinstance(targets, str):
            targets = [targets]
        if targets is not None and not targets:
            raise InputError("targets is empty")
        given = {"top_k": positive(options, "top_k"), "targets": targets and texts_of(targets)}
        parameters = json.dumps({name: value for name, value in given.items() if value is not None})

        def finish(rows: list[Row]) -> Any:
            values = [json.loads(row["answers"][0]) for row in rows]
            # transformers unwraps a list of one
            return Results(values[0] if len(values) == 1 else values, rows)

        asked = {"text": texts, "parameters": [parameters] * len(texts)}
        return Call([self.ask(asked, ["answers"], options)], finish)
