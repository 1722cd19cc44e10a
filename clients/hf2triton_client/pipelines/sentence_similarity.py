"""sentence-similarity: sentence embeddings and their similarity."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..transport.calls import Call, Inputs
from ..transport.served_model import Row, ServedModel
from .base import BATCH_SIZE, Results, TaskPipeline, positive, texts_of
from .postprocess import SIMILARITIES, normalize

#: The prompts of models that declare none: nothing precedes their texts.
_PROMPTS = {"query": "", "document": ""}


class SentenceSimilarity(TaskPipeline):
    """Similarities of sentences to a source sentence, in the model hub's format:

    `pipe({"source_sentence": "…", "sentences": ["…", "…"]}) -> [0.83, 0.12]`

    The model's `similarity_fn_name` says how they are compared; the default is the cosine. Options, which apply to all
    sentences: `prompt_name` (one of the model's prompts) and `prompt` (any text to put before them). transformers has no
    pipeline for this task. `encode` returns the embeddings, as in sentence-transformers.
    """

    task = "sentence-similarity"
    options = frozenset({"prompt_name", "prompt"})

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        keys = ("source_sentence", "sentences")
        if not isinstance(inputs, Mapping) or set(inputs) != set(keys):
            raise InputError(f"sentence-similarity takes a dict with the keys {keys[0]!r} and {keys[1]!r}")
        if isinstance(inputs["sentences"], (str, bytes)):
            raise InputError("'sentences' is a list of strings, not one string")
        texts = texts_of([inputs["source_sentence"], *texts_of(inputs["sentences"])])
        _similarity_of(self.model)

        def finish(rows: list[Row]) -> Results:
            embeddings = np.stack([row["embedding"] for row in rows])
            return Results(_similarity_of(rows[0]["model"])(embeddings[1:], embeddings[0]).tolist(), rows)

        return self._call(texts, options, finish)

    def _call(self, texts: Sequence[str], options: Mapping[str, Any], finish: Callable[[list[Row]], Any]) -> Call:
        asked = self.ask(lambda model: _prompted(model, texts, options), ["embedding"], options)
        return Call([asked], finish, one_version=True)

    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """The embeddings of sentences: float32 `[dim]` for a string, `[n, dim]` for a list (`[0, dim]` if empty).

        `prompt` precedes each sentence. Without `prompt`, the model's prompt named `prompt_name` is used, or else its default
        prompt, if it has one. `batch_size` (32): sentences per request. `truncate_dim`: keep only this many dimensions. With
        `normalize_embeddings`, each embedding has length 1; if the model normalises, it always has. A coroutine for asyncio
        pipelines. Raises InputError.
        """
        single = isinstance(sentences, (str, bytes))
        texts = [] if not single and len(sentences) == 0 else texts_of(sentences)
        asked = {"prompt_name": prompt_name, "prompt": prompt, "batch_size": batch_size}
        options = self.merged({name: value for name, value in asked.items() if value is not None})
        dim = positive({"truncate_dim": truncate_dim}, "truncate_dim")

        def finish(rows: list[Row]) -> NDArray[Any]:
            empty = np.zeros((0, self.model.settings["embedding_dim"]), np.float32)
            embeddings = np.stack([row["embedding"] for row in rows]) if rows else empty
            embeddings = embeddings[:, :dim]
            embeddings = normalize(embeddings) if normalize_embeddings else embeddings
            return embeddings[0] if single else embeddings

        return self._runner.run(self._call(texts, options, finish))

    def encode_query(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """`encode` for queries: uses the model's `query` prompt, never its default prompt."""
        return self.encode(sentences, **_named("query", options))

    def encode_document(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """`encode` for documents: uses the model's `document` prompt, never its default prompt."""
        return self.encode(sentences, **_named("document", options))


def _similarity_of(model: ServedModel) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """How a version compares embeddings. Raises InputError for a similarity that this client does not know."""
    name = model.settings.get("similarity", "cosine")
    if name not in SIMILARITIES:
        raise InputError(f"{model.name} compares by {name}, which this client does not know; update it")
    return SIMILARITIES[name]


def _prompted(model: ServedModel, texts: Sequence[str], options: Mapping[str, Any]) -> Inputs:
    """The inputs for texts and the requested prompt. Raises InputError for a prompt that the model does not have."""
    name, prompt = options.get("prompt_name"), options.get("prompt")
    known = model.settings.get("prompts", _PROMPTS)
    for what, value in (("prompt_name", name), ("prompt", prompt)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"{what} should be a string, not {type(value).__name__}")
    if prompt is None and name is not None and name not in known:
        raise InputError(f"{model.name} has no prompt {name!r}; it has {', '.join(known)}")
    if name is None and prompt is None:
        return {"text": texts}
    if "parameters" not in model.settings["inputs"]:
        # a model without prompts reads the prompt as part of the text
        return {"text": [(prompt or "") + text for text in texts]}
    asked = {"prompt_name": name} if prompt is None else {"prompt": prompt}
    return {"text": texts, "parameters": [json.dumps(asked, ensure_ascii=False)] * len(texts)}


def _named(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with this prompt, unless they already name another."""
    asked = options.get("prompt") is not None or options.get("prompt_name") is not None
    return dict(options) if asked else {**options, "prompt_name": name}
