"""sparse-embedding: a weight for each token that a text is about."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row
from . import sparse_vectors
from .base import BATCH_SIZE, Results, positive, texts_of
from .embedding import EmbeddingPipeline, sentences_of
from .sparse_vectors import SIMILARITIES, SparseVectors, as_sparse


class SparseEmbedding(EmbeddingPipeline):
    """The tokens of the vocabulary that a text is about, with their weights, the largest first: a dict for a string, a list of
    dicts for a list. transformers has no pipeline for this task; the result is that of `SparseEncoder.decode` as a dict.

    Options: `top_k` and `max_active_dims` (at most this many tokens; by default the model's `max_active_dims`, or all that are
    not 0), `prompt_name` and `prompt`, as in `encode`.
    """

    task = "sparse-embedding"
    options = EmbeddingPipeline.options | {"top_k", "max_active_dims"}

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        texts = texts_of(inputs)
        single = isinstance(inputs, (str, bytes))
        given = [positive(options, name) for name in ("top_k", "max_active_dims")]
        most = min((value for value in given if value is not None), default=None)

        def finish(rows: list[Row]) -> Any:
            values = [_named(row) for row in rows]
            return values[0] if single else Results(values, rows)

        outputs = ["token_strings", "token_weights"]
        return self._call(texts, options, outputs, finish, max_active_dims=most)

    def encode(  # type: ignore[override] # names the options that others take
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        max_active_dims: int | None = None,
        dense: bool = False,
    ) -> Any:
        """The embeddings of texts: `SparseVectors` with a row for each text, also for a single one.

        `prompt` precedes each text. Without `prompt`, the model's prompt named `prompt_name` is used, or else its default prompt,
        if it has one. `batch_size` (32): texts per request. `max_active_dims`: at most this many weights for each text; only
        these are sent. `dense`: an array instead, float32 `[vocabulary]` for a string, `[n, vocabulary]` for a list.

        A coroutine for asyncio pipelines. Raises InputError.
        """
        texts, single = sentences_of(sentences)
        options = self._options_of(prompt_name=prompt_name, prompt=prompt, batch_size=batch_size)
        most = positive({"max_active_dims": max_active_dims}, "max_active_dims")

        def finish(rows: list[Row]) -> Any:
            model = rows[0]["model"] if rows else self.model
            found = [(row["token_ids"], row["token_weights"]) for row in rows]
            vectors = SparseVectors.of_rows(found, model.settings["embedding_dim"])
            if not dense:
                return vectors
            return vectors.dense()[0] if single else vectors.dense()

        return self._runner.run(
            self._call(texts, options, ["token_ids", "token_weights"], finish, max_active_dims=most)
        )

    def similarity(self, embeddings: Any, others: Any) -> NDArray[Any]:
        """All similarities of two sets of embeddings, float32 `[n, m]`, by the model's `similarity_fn_name`, usually the dot
        product. Both are `SparseVectors` or arrays. Computed here, also for asyncio pipelines. Raises InputError."""
        return sparse_vectors.similarity(self._compared(), as_sparse(embeddings), as_sparse(others))

    def similarity_pairwise(self, embeddings: Any, others: Any) -> NDArray[Any]:
        """The similarity of each embedding with the one in the same place, float32 `[n]`. Raises InputError."""
        return sparse_vectors.similarity_pairwise(self._compared(), as_sparse(embeddings), as_sparse(others))

    def _compared(self) -> str:
        name = self.similarity_fn_name
        if name not in SIMILARITIES:
            raise InputError(f"{self.model.name} compares by {name}, which this client does not know; update it")
        return name


def _named(row: Row) -> dict[str, float]:
    """The weights of a row by their tokens. Entries of the vocabulary that no token stands for have no name."""
    tokens = (token.decode("utf-8") for token in row["token_strings"])
    weights = np.asarray(row["token_weights"]).tolist()
    return {token: weight for token, weight in zip(tokens, weights, strict=True) if token}
