"""sentence-similarity: sentence embeddings and their cosine similarity."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..postprocess import normalize
from ..served_model import Row
from .base import BATCH_SIZE, Call, Results, TaskPipeline, texts_of


class SentenceSimilarity(TaskPipeline):
    """Cosine similarities of sentences to a source sentence, in the model hub's shape:

    `pipe({"source_sentence": "…", "sentences": ["…", "…"]}) -> [0.83, 0.12]`

    transformers has no pipeline for this task. `encode` gives the embeddings, as sentence-transformers does.
    """

    task = "sentence-similarity"

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        keys = ("source_sentence", "sentences")
        if not isinstance(inputs, Mapping) or set(inputs) != set(keys):
            raise InputError(f"sentence-similarity takes a dict with the keys {keys[0]!r} and {keys[1]!r}")
        if isinstance(inputs["sentences"], (str, bytes)):
            raise InputError("'sentences' is a list of strings, not one string")
        texts = texts_of([inputs["source_sentence"], *texts_of(inputs["sentences"])])

        def finish(rows: list[Row]) -> Results:
            embeddings = normalize(np.stack([row["embedding"] for row in rows]))
            return Results((embeddings[1:] @ embeddings[0]).tolist(), rows)

        return Call([self.ask({"text": texts}, ["embedding"], options)], finish)

    def encode(
        self, sentences: str | Sequence[str], *, batch_size: int = BATCH_SIZE, normalize_embeddings: bool = False
    ) -> Any:
        """The embeddings of sentences: float32 `[dim]` for a string, `[n, dim]` for a list (`[0, dim]` if empty).

        `batch_size` is the number of sentences of one request. With `normalize_embeddings` each has length 1 (those of
        a model that normalises have it anyway). A coroutine for asyncio pipelines. Raises InputError.
        """
        single = isinstance(sentences, (str, bytes))
        texts = [] if not single and len(sentences) == 0 else texts_of(sentences)
        options = self._checked({"batch_size": batch_size})

        def finish(rows: list[Row]) -> np.ndarray:
            dim = self.model.settings["embedding_dim"]
            embeddings = np.stack([row["embedding"] for row in rows]) if rows else np.zeros((0, dim), np.float32)
            embeddings = normalize(embeddings) if normalize_embeddings else embeddings
            return embeddings[0] if single else embeddings

        return self._runner.run(Call([self.ask({"text": texts}, ["embedding"], options)], finish))
