"""sentence-similarity: sentence embeddings and their similarity."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row, ServedModel
from .base import BATCH_SIZE, Results, positive, texts_of
from .embedding import EmbeddingPipeline, sentences_of
from .postprocess import normalize
from .quantization import quantize_embeddings, require_precision
from .similarity import SIMILARITIES, maxsim, maxsim_pairwise, similarity, similarity_pairwise

#: The output with one vector for each text, and the one with a vector for each of its tokens.
_SENTENCE, _TOKENS = "embedding", "token_embeddings"
#: `output_value` of sentence-transformers -> the output.
_OUTPUTS: Mapping[str, str] = {"sentence_embedding": _SENTENCE, "token_embeddings": _TOKENS}
#: How models with a vector for each token compare texts.
_MAXSIM = "maxsim"


class SentenceSimilarity(EmbeddingPipeline):
    """Similarities of sentences to a source sentence, in the model hub's format:

    `pipe({"source_sentence": "…", "sentences": ["…", "…"]}) -> [0.83, 0.12]`

    The model's `similarity_fn_name` says how they are compared; the default is the cosine. Options, which apply to all
    sentences: `prompt_name` (one of the model's prompts) and `prompt` (any text to put before them). transformers has no
    pipeline for this task. `encode` and the other methods are those of sentence-transformers.
    """

    task = "sentence-similarity"

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        keys = ("source_sentence", "sentences")
        if not isinstance(inputs, Mapping) or set(inputs) != set(keys):
            raise InputError(f"sentence-similarity takes a dict with the keys {keys[0]!r} and {keys[1]!r}")
        if isinstance(inputs["sentences"], (str, bytes)):
            raise InputError("'sentences' is a list of strings, not one string")
        texts = texts_of([inputs["source_sentence"], *texts_of(inputs["sentences"])])
        output = _default_output(self.model)
        _compared(self.model)

        def finish(rows: list[Row]) -> Results:
            compared = _compared(rows[0]["model"])
            first, *others = (row[output] for row in rows)
            return Results(compared.matrix([first], others)[0].tolist(), rows)

        return self._call(texts, options, [output], finish)

    def encode(  # type: ignore[override] # names the options that others take
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        output_value: Literal["sentence_embedding", "token_embeddings"] | None = None,
        precision: Literal["float32", "int8", "uint8", "binary", "ubinary"] = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """The embeddings of sentences: float32 `[dim]` for a string, `[n, dim]` for a list (`[0, dim]` if empty).

        `prompt` precedes each sentence. Without `prompt`, the model's prompt named `prompt_name` is used, or else its default
        prompt, if it has one. `batch_size` (32): sentences per request. `truncate_dim`: keep only this many dimensions. With
        `normalize_embeddings`, each embedding then has length 1. `precision`: what `quantize_embeddings` makes of the result;
        `int8` and `uint8` take their ranges from these sentences.

        `output_value` "token_embeddings": for each sentence an array `[tokens, dim]`, with special tokens and the prompt's. The
        model must have been exported with `--token-embeddings`, or have no other embeddings: then this is the default.

        A coroutine for asyncio pipelines. Raises InputError.
        """
        texts, single = sentences_of(sentences)
        options = self._options_of(prompt_name=prompt_name, prompt=prompt, batch_size=batch_size)
        require_precision(precision)
        dim = positive({"truncate_dim": truncate_dim}, "truncate_dim")
        output = _output_of(self.model, output_value)
        if dim is not None:
            _check_dim(self.model, output, dim)
        if output == _TOKENS:

            def finish_tokens(rows: list[Row]) -> Any:
                vectors = [row[output] for row in rows]
                vectors = [normalize(own) for own in vectors] if normalize_embeddings else vectors
                vectors = quantize_embeddings(vectors, precision) if vectors and precision != "float32" else vectors
                return vectors[0] if single else vectors

            return self._runner.run(self._call(texts, options, [output], finish_tokens))

        def finish(rows: list[Row]) -> Any:
            empty = np.zeros((0, self.model.settings["embedding_dim"]), np.float32)
            embeddings = np.stack([row[output] for row in rows]) if rows else empty
            embeddings = embeddings[:, :dim]
            embeddings = normalize(embeddings) if normalize_embeddings else embeddings
            embeddings = quantize_embeddings(embeddings, precision)
            return embeddings[0] if single else embeddings

        return self._runner.run(self._call(texts, options, [output], finish))

    def similarity(self, embeddings: Any, others: Any) -> NDArray[Any]:
        """All similarities of two sets of embeddings, float32 `[n, m]`, by the model's `similarity_fn_name`. Computed here, also
        for asyncio pipelines. Raises InputError."""
        return _compared(self.model).matrix(embeddings, others)

    def similarity_pairwise(self, embeddings: Any, others: Any) -> NDArray[Any]:
        """The similarity of each embedding with the one in the same place, float32 `[n]`. Raises InputError."""
        return _compared(self.model).pairs(embeddings, others)

    def maxsim(self, queries: Any, documents: Any) -> NDArray[Any]:
        """The MaxSim scores of token embeddings, float32 `[queries, documents]`: for each token of a query, its largest dot
        product with a token of the document, summed over the query. Raises InputError."""
        return maxsim(queries, documents)


@dataclass(frozen=True)
class _Compared:
    """How a model compares embeddings: all with all, and in pairs."""

    matrix: Callable[[Any, Any], NDArray[Any]]
    pairs: Callable[[Any, Any], NDArray[Any]]


def _by(name: str) -> _Compared:
    return _Compared(lambda a, b: similarity(name, a, b), lambda a, b: similarity_pairwise(name, a, b))


_COMPARED: Mapping[str, _Compared] = {
    **{name: _by(name) for name in SIMILARITIES},
    _MAXSIM: _Compared(maxsim, maxsim_pairwise),
}


def _compared(model: ServedModel) -> _Compared:
    """How a version compares embeddings. Raises InputError for a similarity that this client does not know."""
    name = model.settings.get("similarity", SIMILARITIES[0])
    if name not in _COMPARED:
        raise InputError(f"{model.name} compares by {name}, which this client does not know; update it")
    return _COMPARED[name]


def _default_output(model: ServedModel) -> str:
    """One vector for each text, if the model has it."""
    return _SENTENCE if _SENTENCE in model.settings["outputs"] else _TOKENS


def _output_of(model: ServedModel, output_value: str | None) -> str:
    """The output that `output_value` stands for. Raises InputError if the model does not have it."""
    if output_value is None:
        return _default_output(model)
    if output_value not in _OUTPUTS:
        raise InputError(f"output_value should be {' or '.join(_OUTPUTS)}, not {output_value!r}")
    output = _OUTPUTS[output_value]
    if output not in model.settings["outputs"]:
        why = "export it with --token-embeddings" if output == _TOKENS else "it has a vector for each token"
        raise InputError(f"{model.name} gives no {output_value}: {why}")
    return output


def _check_dim(model: ServedModel, output: str, dim: int) -> None:
    """Raises InputError for dimensions that cannot be kept."""
    if output == _TOKENS:
        raise InputError("truncate_dim is for sentence_embedding, not for token_embeddings")
    kept = model.settings.get("pooling", {}).get("truncate_dim")
    if kept is not None and dim > kept:
        raise InputError(f"truncate_dim must be at most {kept}, the truncate_dim of {model.name}, not {dim}")
