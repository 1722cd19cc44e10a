"""Compares embeddings as sentence-transformers does, with numpy alone.

Follows sentence_transformers/util/similarity.py (version 6). Distances are negated, so a higher value always means more similar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .postprocess import normalize

Array = NDArray[Any]
#: The score of a document without tokens: below that of every real document.
EMPTY_DOCUMENT = -1e9
#: The most numbers in the token similarities of one step of `maxsim`.
_AT_ONCE = 1 << 24

#: Name -> function that compares each row of `[n, dim]` with the same row of `[n, dim]`, or with the only row of `[1, dim]`.
_ROWS: Mapping[str, Callable[[Array, Array], Array]] = {
    "cosine": lambda a, b: (normalize(a) * normalize(b)).sum(axis=-1),
    "dot": lambda a, b: (a * b).sum(axis=-1),
    "euclidean": lambda a, b: -np.linalg.norm(a - b, axis=-1),
    "manhattan": lambda a, b: -np.abs(a - b).sum(axis=-1),
}
#: Name -> function that compares all rows of `[n, dim]` with all rows of `[m, dim]`, if that is quicker than row by row.
_MATRICES: Mapping[str, Callable[[Array, Array], Array]] = {
    "cosine": lambda a, b: normalize(a) @ normalize(b).T,
    "dot": lambda a, b: a @ b.T,
}
#: The ways to compare embeddings with one vector for each text.
SIMILARITIES = tuple(_ROWS)


def similarity(name: str, a: Any, b: Any) -> Array:
    """All similarities of two sets of embeddings, float32 `[n, m]`. `a`: `[n, dim]` or `[dim]`, `b`: `[m, dim]` or `[dim]`.
    Raises InputError."""
    a, b = _embeddings(a), _embeddings(b)
    _require_width(a, b)
    if name in _MATRICES:
        return _MATRICES[name](a, b)
    columns = [_ROWS[name](a, row[None]) for row in b]
    return np.stack(columns, axis=1) if columns else np.zeros((len(a), 0), np.float32)


def similarity_pairwise(name: str, a: Any, b: Any) -> Array:
    """The similarity of each embedding with the one in the same place, float32 `[n]`. Raises InputError."""
    a, b = _embeddings(a), _embeddings(b)
    _require_width(a, b)
    _require_pairs(a, b)
    return _ROWS[name](a, b)


def maxsim(queries: Any, documents: Any) -> Array:
    """The MaxSim scores of queries and documents, float32 `[queries, documents]`: for each token of a query, the largest dot
    product with a token of the document, summed over the query's tokens.

    `queries`, `documents`: lists of arrays `[tokens, dim]`, an array `[n, tokens, dim]`, or a single array `[tokens, dim]`. A
    document without tokens gets `EMPTY_DOCUMENT`. Raises InputError.
    """
    asked, read = _token_arrays(queries), _token_arrays(documents)
    _require_width(*asked, *read)
    scores = np.zeros((len(asked), len(read)), np.float32)
    for row, query in enumerate(asked):
        for start, stop in _spans([len(document) for document in read], max(_AT_ONCE // max(len(query), 1), 1)):
            scores[row, start:stop] = _scores(query, read[start:stop])
    return scores


def maxsim_pairwise(queries: Any, documents: Any) -> Array:
    """The MaxSim score of each query with the document in the same place, float32 `[n]`. Raises InputError."""
    asked, read = _token_arrays(queries), _token_arrays(documents)
    _require_width(*asked, *read)
    _require_pairs(asked, read)
    pairs = zip(asked, read, strict=True)
    return np.array([_scores(query, [document])[0] for query, document in pairs], np.float32)


def _scores(query: Array, documents: Sequence[Array]) -> Array:
    """The scores of one query, `[tokens, dim]`, and some documents."""
    lengths = np.array([len(document) for document in documents])
    filled = lengths > 0
    scores = np.full(len(documents), EMPTY_DOCUMENT, np.float32)
    if filled.any():
        starts = np.cumsum([0, *lengths[filled][:-1]])
        best = np.maximum.reduceat(query @ np.concatenate(documents).T, starts, axis=1)
        scores[filled] = best.sum(axis=0)
    return scores


def _spans(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Bounds of neighbours with at most `most` tokens together; a longer document stands alone."""
    spans, start, total = [], 0, 0
    for index, length in enumerate(lengths):
        if index > start and total + length > most:
            spans.append((start, index))
            start, total = index, 0
        total += length
    return [*spans, (start, len(lengths))] if lengths else []


def _embeddings(given: Any) -> Array:
    """Embeddings as float32 `[n, dim]`. Raises InputError."""
    array = np.asarray(given)
    array = array[None] if array.ndim == 1 and array.size else array
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"embeddings should be numbers [n, dim] or [dim], not {array.dtype} {list(array.shape)}")
    return array.astype(np.float32, copy=False)


def _token_arrays(given: Any) -> list[Array]:
    """The token embeddings of texts, each float32 `[tokens, dim]`. Raises InputError."""
    one = isinstance(given, np.ndarray) and given.ndim == 2
    arrays = [np.asarray(array) for array in ([given] if one else given)]
    for array in arrays:
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(
                f"token embeddings should be numbers [tokens, dim] for each text, not {array.dtype} {list(array.shape)}"
            )
    return [array.astype(np.float32, copy=False) for array in arrays]


def _require_width(*arrays: Array) -> None:
    widths = sorted({array.shape[-1] for array in arrays if array.size})
    if len(widths) > 1:
        raise InputError(f"embeddings of {' and '.join(map(str, widths))} numbers cannot be compared")


def _require_pairs(a: Sequence[Any], b: Sequence[Any]) -> None:
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} embeddings do not form pairs")
