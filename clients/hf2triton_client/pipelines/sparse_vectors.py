"""Sparse vectors in compressed rows, and their similarities, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class SparseVectors:
    """Vectors of which most numbers are 0: row `i` has the `values` from `indptr[i]` to `indptr[i + 1]`, float32, at the
    `indices` in the same places, int32, the largest value first.

    `scipy.sparse.csr_matrix((v.values, v.indices, v.indptr), shape=v.shape)` is the same as a matrix. `v[2:5]` are some rows, and
    `v[2]` is one, still with two axes.
    """

    indptr: Array
    indices: Array
    values: Array
    dim: int

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[Array, Array]], dim: int) -> SparseVectors:
        """From the indices and values of each row."""
        indices, values = ([row[part] for row in rows] for part in (0, 1))
        indptr = np.cumsum([0, *map(len, indices)])
        return cls(
            indptr,
            np.concatenate([np.zeros(0, np.int32), *indices]),
            np.concatenate([np.zeros(0, np.float32), *values]),
            dim,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.dim

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: int | slice) -> SparseVectors:
        if not isinstance(rows, slice):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"there are {len(self)} rows, not {rows}")
            rows = slice(rows, rows + 1 or None)
        return self.of_rows([self.row(index) for index in range(*rows.indices(len(self)))], self.dim)

    def __iter__(self) -> Iterator[SparseVectors]:
        return (self[index] for index in range(len(self)))

    def row(self, index: int) -> tuple[Array, Array]:
        """The indices and values of one row."""
        own = slice(self.indptr[index], self.indptr[index + 1])
        return self.indices[own], self.values[own]

    def dense(self) -> Array:
        """All numbers, float32 `[n, dim]`."""
        array = np.zeros(self.shape, np.float32)
        array[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.values
        return array


def as_sparse(given: Any) -> SparseVectors:
    """Sparse vectors from these or from an array `[n, dim]` or `[dim]`. Raises InputError."""
    if isinstance(given, SparseVectors):
        return given
    array = np.atleast_2d(np.asarray(given))
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"embeddings should be SparseVectors or numbers [n, dim], not {array.dtype} {list(array.shape)}"
        )
    rows = [(np.flatnonzero(row).astype(np.int32), row[row != 0].astype(np.float32)) for row in array]
    return SparseVectors.of_rows(rows, array.shape[1])


def similarity(name: str, a: SparseVectors, b: SparseVectors) -> Array:
    """All similarities, float32 `[n, m]`. Raises InputError for vectors of different sizes."""
    _require_width(a, b)
    norms = _norms(a)
    columns = [_COMPARE[name](_Against(a, norms, *b.row(index))) for index in range(len(b))]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(a), 0), np.float32)


def similarity_pairwise(name: str, a: SparseVectors, b: SparseVectors) -> Array:
    """The similarity of each vector with the one in the same place, float32 `[n]`. Raises InputError."""
    _require_width(a, b)
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} embeddings do not form pairs")
    pairs = ((a[index], b.row(index)) for index in range(len(a)))
    return np.array([_COMPARE[name](_Against(one, _norms(one), *row))[0] for one, row in pairs], np.float32)


class _Against:
    """Vectors, the squares of their lengths, and one vector that they are compared with."""

    def __init__(self, vectors: SparseVectors, squares: Array, indices: Array, values: Array) -> None:
        other = np.zeros(vectors.dim)
        other[indices] = values
        self.vectors, self.squares, self.values = vectors, squares, values.astype(np.float64)
        #: The number of the other vector in each place where the vectors have one.
        self.others = other[vectors.indices]

    def dot(self) -> Array:
        return _sums(self.vectors, self.vectors.values * self.others)

    def squared(self) -> float:
        return float(self.values @ self.values)

    def cosine(self) -> Array:
        cosines: Array = self.dot() / np.maximum(np.sqrt(self.squares), 1e-12) / max(self.squared() ** 0.5, 1e-12)
        return cosines

    def euclidean(self) -> Array:
        distances: Array = np.sqrt(np.maximum(self.squares + self.squared() - 2 * self.dot(), 0))
        return -distances

    def manhattan(self) -> Array:
        apart = np.abs(self.vectors.values - self.others) - np.abs(self.others)
        distances: Array = _sums(self.vectors, apart) + np.abs(self.values).sum()
        return -distances


_COMPARE: Mapping[str, Callable[[_Against], Array]] = {
    "cosine": _Against.cosine,
    "dot": _Against.dot,
    "euclidean": _Against.euclidean,
    "manhattan": _Against.manhattan,
}
SIMILARITIES = tuple(_COMPARE)


def _norms(vectors: SparseVectors) -> Array:
    """The square of each vector's length."""
    return _sums(vectors, vectors.values.astype(np.float64) ** 2)


def _sums(vectors: SparseVectors, numbers: Array) -> Array:
    """The sum over each vector of a number for each of its values."""
    sums = np.concatenate([[0.0], np.cumsum(numbers, dtype=np.float64)])
    result: Array = sums[vectors.indptr[1:]] - sums[vectors.indptr[:-1]]
    return result


def _require_width(a: SparseVectors, b: SparseVectors) -> None:
    if a.dim != b.dim:
        raise InputError(f"embeddings of {a.dim} and {b.dim} numbers cannot be compared")
