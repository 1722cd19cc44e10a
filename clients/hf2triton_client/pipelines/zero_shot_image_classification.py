"""zero-shot-image-classification: labels chosen at call time, compared with images by the embeddings of both."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..transport.calls import Ask, Call
from ..transport.served_model import Row, ServedModel
from .base import BATCH_SIZE, IMAGES, Results, Runner, TaskPipeline, texts_of
from .images import images_of
from .labels import FUNCTIONS
from .zero_shot_classification import filled, labels_of

#: The default `hypothesis_template`, as in transformers.
CAPTION = "This is a photo of {}."


class ZeroShotImageClassification(TaskPipeline):
    """How well labels fit an image, best first: `[{"score": 0.9, "label": "cat"}, …]`, a list of such lists for a list.

    `pipe("cat.jpg", candidate_labels=["cat", "dog"])`; images as in image-classification. Options, as in transformers:
    `hypothesis_template` (default "This is a photo of {}.") and `timeout`. The labels' embeddings are computed once and
    kept for the life of the pipeline.

    `encode_texts` and `encode_images` return the embeddings, of length 1.
    """

    task = "zero-shot-image-classification"
    options = frozenset({"candidate_labels", "hypothesis_template", "timeout"})
    batch_size = IMAGES

    def __init__(self, models: Mapping[str, ServedModel], runner: Runner, defaults: Mapping[str, Any]) -> None:
        super().__init__(models, runner, defaults)
        #: `ServedModel.embeds_as` -> text -> its row.
        self._known: dict[Hashable, dict[str, Row]] = {}
        self._newest: Hashable = None

    def __call__(self, inputs: Any, candidate_labels: Any = None, **options: Any) -> Any:
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **options)

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        images, single = images_of(inputs, options.get("timeout"))
        labels = labels_of(options.get("candidate_labels"))
        template = options.get("hypothesis_template")
        texts = filled(CAPTION if template is None else template, labels)

        def result(rows: list[Row], of_texts: Mapping[str, Row]) -> Results:
            of_labels = np.stack([of_texts[text]["embedding"] for text in texts])
            settings = rows[0]["model"].settings
            cosines = np.stack([row["embedding"] for row in rows]) @ of_labels.T
            logits = cosines * settings["logit_scale"] + settings.get("logit_bias", 0.0)
            scores_of = FUNCTIONS[settings.get("function_to_apply", "softmax")]
            values = [_ranked(labels, scores) for scores in scores_of(logits)]
            return Results(values[0] if single else values, rows)

        return self._call(images, texts, options.get("batch_size") or IMAGES, result)

    def _call(
        self,
        images: list[bytes],
        texts: list[str],
        batch_size: int,
        result: Callable[[list[Row], Mapping[str, Row]], Results],
        again: bool = False,
    ) -> Call:
        """Embeds the images, and the texts that are not known yet. Embeddings of different versions cannot be compared: if
        the images are answered by another version than the version that embedded the known texts, everything is asked
        `again`."""
        known: Mapping[str, Row] = {} if again else self._known.get(self._newest, {})
        new = [text for text in dict.fromkeys(texts) if text not in known]
        asks = [self._ask("image", images, batch_size), *([self._ask("text", new, BATCH_SIZE)] if new else [])]

        def finish(rows: list[Row], text_rows: Sequence[Row] = ()) -> Results | Call:
            self._newest = rows[0]["model"].embeds_as(int(rows[0]["version"]))
            of_texts = {**self._known.get(self._newest, {}), **dict(zip(new, text_rows, strict=True))}
            if any(text not in of_texts for text in texts):
                return self._call(images, texts, batch_size, result, again=True)
            before = {key: own for key, own in self._known.items() if key != self._newest}
            self._known = {**dict(list(before.items())[-1:]), self._newest: of_texts}
            return result(rows, of_texts)

        return Call(asks, finish, one_version=True)

    def encode_texts(self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE) -> Any:
        """Embeddings of texts: float32 `[dim]` for a string, `[n, dim]` for a list. `batch_size` (32): texts per request. A
        coroutine for asyncio pipelines. Raises InputError."""
        return self._encode("text", texts_of(texts), isinstance(texts, (str, bytes)), batch_size)

    def encode_images(self, images: Any, *, batch_size: int = IMAGES) -> Any:
        """Embeddings of images: float32 `[dim]` for an image, `[n, dim]` for a list. `batch_size` (8): images per request. A
        coroutine for asyncio pipelines. Raises InputError."""
        encoded, single = images_of(images)
        return self._encode("image", encoded, single, batch_size)

    def _encode(self, reads: str, values: Sequence[str | bytes], single: bool, batch_size: int) -> Any:
        self._checked({"batch_size": batch_size})

        def finish(rows: list[Row]) -> NDArray[Any]:
            embeddings = np.stack([row["embedding"] for row in rows])
            result: NDArray[Any] = embeddings[0] if single else embeddings
            return result

        return self._runner.run(Call([self._ask(reads, values, batch_size)], finish, one_version=True))

    def _ask(self, reads: str, values: Sequence[str | bytes], batch_size: int) -> Ask:
        return Ask(self.versions[reads], {reads: values}, ["embedding"], batch_size)


def _ranked(labels: Sequence[str], scores: NDArray[Any]) -> list[dict[str, Any]]:
    """Labels by score; equal scores keep the order of the labels."""
    pairs = sorted(zip(scores.tolist(), labels, strict=True), key=lambda pair: -pair[0])
    return [{"score": score, "label": label} for score, label in pairs]
