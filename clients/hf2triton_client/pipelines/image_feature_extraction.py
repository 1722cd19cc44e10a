"""image-feature-extraction: the hidden states of an image's patches, or one vector for the image."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row
from .base import IMAGES, Results, TaskPipeline
from .images import images_of


class ImageFeatureExtraction(TaskPipeline):
    """Features of images: nested lists of shape `[1, 1 + patches, hidden_size]` for an image, a list of such lists for a list.

    Options, as in transformers: `pool` (the pooling layer's output, `[1, hidden_size]`), `return_tensors` (numpy arrays,
    float32, instead of lists) and `timeout`. `encode` returns the embedding of the [CLS] token, which most searches need.
    """

    task = "image-feature-extraction"
    options = frozenset({"pool", "return_tensors", "timeout"})
    batch_size = IMAGES

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        images, single = images_of(inputs, options.get("timeout"))
        output = "pooler_output" if options.get("pool") else "last_hidden_state"
        self._require(output)
        as_tensors = options.get("return_tensors", False)

        def finish(rows: list[Row]) -> Any:
            features = [row[output][None] for row in rows]
            if as_tensors:
                return features[0] if single else features
            values = [array.tolist() for array in features]
            return Results(values[0] if single else values, rows)

        return Call([self.ask({"image": images}, [output], options)], finish)

    def encode(self, images: Any, *, pool: bool = False, batch_size: int | None = None) -> Any:
        """Embeddings: float32 `[hidden_size]` for an image, `[n, hidden_size]` for a list. The embedding is the state of the
        [CLS] token, or with `pool` the pooling layer's output. A coroutine for asyncio pipelines. Raises InputError."""
        output = "pooler_output" if pool else "cls_embedding"
        self._require(output)
        options = self._checked({"batch_size": batch_size} if batch_size else {})
        encoded, single = images_of(images)

        def finish(rows: list[Row]) -> NDArray[Any]:
            embeddings = np.stack([row[output] for row in rows])
            result: NDArray[Any] = embeddings[0] if single else embeddings
            return result

        return self._runner.run(Call([self.ask({"image": encoded}, [output], options)], finish, one_version=True))

    def _require(self, output: str) -> None:
        if output not in self.model.settings["outputs"]:
            raise InputError(f"model {self.model.name!r} gives no pooled output: its checkpoint has no pooling layer")
