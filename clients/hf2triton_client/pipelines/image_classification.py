"""image-classification."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from ..transport.calls import Call
from ..transport.served_model import Row
from .base import IMAGES, Results, TaskPipeline, positive
from .images import images_of
from .labels import ranking, score_function

#: The default of transformers.
TOP_K = 5


class ImageClassification(TaskPipeline):
    """Labels of images, best first: `pipe("cat.jpg") -> [{"label": "cat", "score": 0.9}, …]`, a list of such lists for a list.

    An image is a path, a URL, bytes of an encoded file, a base64 string, a PIL image or a numpy array (`[height, width,
    channels]`, uint8). Options, as in transformers: `top_k` (default 5), `function_to_apply` and `timeout` (seconds to
    fetch a URL).
    """

    task = "image-classification"
    options = frozenset({"top_k", "function_to_apply", "timeout"})
    batch_size = IMAGES

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        images, single = images_of(inputs, options.get("timeout"))
        function = score_function(options.get("function_to_apply"))
        top_k = positive(options, "top_k") or TOP_K

        def finish(rows: list[Row]) -> Results:
            values = [ranking(function(row), row["model"].id2label)[:top_k] for row in rows]
            return Results(values[0] if single else values, rows)

        return Call([self.ask({"image": images}, ["logits"], options)], finish)
