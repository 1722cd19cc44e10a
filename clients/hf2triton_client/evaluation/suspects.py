"""Measures how similar two arrays of vectors are, and finds the value among many pairs that causes a breach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .places import Places, Worst, numbers_apart

#: The smallest number that fp16 distinguishes from 0. Smaller numbers may become 0 without counting as lost.
_SMALLEST = 2.0**-24


class Suspects:
    """The worst pair for each kind of breach; the first if several are equal. The pair is examined more closely only after a
    breach."""

    def __init__(self) -> None:
        self._pair: tuple[int, NDArray[Any], NDArray[Any]] | None = None
        self._most: dict[str, tuple[float, Any]] = {}

    def look_at(self, pair: int, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        self._pair = (pair, reference, candidate)

    def note(self, kind: str, amount: float) -> None:
        """Records how much the pair deviates for a kind of breach. NaN is larger than any amount."""
        amount = float("inf") if amount != amount else amount
        if amount > self._most.get(kind, (0.0, None))[0]:
            self._most[kind] = (amount, self._pair)

    def worst(self, kind: str, margin: float, places: Places) -> Worst | None:
        """The value that causes a kind of breach. `margin`: how far an entry may be below the best and still count as best."""
        if kind not in self._most:
            return None
        pair, reference, candidate = self._most[kind][1]
        dims = reference.ndim
        if kind == "shape":
            shapes = (f"shape {list(array.shape)}" for array in (reference, candidate))
            return places.worst(pair, (), dims, *shapes)
        vectors = as_vectors(reference, candidate)
        if kind == "argmax":
            vector = int((~agree(*vectors, margin)).argmax())
            best = [(int(side[vector].argmax()), side[vector].max()) for side in vectors]
            said = (f"best {places.entry(entry)} at {value:.4g}" for entry, value in best)
            return places.worst(pair, index_of(vector, reference.shape[:-1]), dims, *said)
        flat = int(_LOCATE[kind](*vectors))
        values = numbers_apart(*(float(side.reshape(-1)[flat]) for side in vectors))
        return places.worst(pair, index_of(flat, reference.shape), dims, *values)


def index_of(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index in an array of the value whose flat index is `flat`."""
    return tuple(int(place) for place in np.unravel_index(flat, shape))


def _farthest(reference: NDArray[Any], candidate: NDArray[Any]) -> int:
    with np.errstate(invalid="ignore"):
        return int(np.abs(reference - candidate).argmax())


def _farthest_of_least_cosine(reference: NDArray[Any], candidate: NDArray[Any]) -> int:
    vector = int(cosine_of(reference, candidate).argmin())
    return vector * reference.shape[-1] + _farthest(reference[vector], candidate[vector])


def _lost(reference: NDArray[Any], candidate: NDArray[Any]) -> int:
    """The position of a zero; preferably a zero in a vector of zeros only."""
    zeros = zeros_of(reference, candidate)
    return int((zeros * (1 + gone_of(candidate, zeros)[:, None])).argmax())


#: Kind of breach -> its position in a pair's vectors, as a flat index into all their values.
_LOCATE: dict[str, Callable[[NDArray[Any], NDArray[Any]], int]] = {
    "unsound": lambda reference, candidate: int((~np.isfinite(candidate)).argmax()),
    "zeros": _lost,
    "largest": _farthest,
    "cosine": _farthest_of_least_cosine,
}


def as_vectors(reference: NDArray[Any], candidate: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays as fp64 `[rows, n]`."""
    width = reference.shape[-1] if reference.ndim else 1
    return np.asarray(reference, np.float64).reshape(-1, width), np.asarray(candidate, np.float64).reshape(-1, width)


def zeros_of(reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[Any]:
    """Marks values that are 0 although they should not be."""
    lost: NDArray[Any] = (candidate == 0) & (np.abs(reference) > _SMALLEST)
    return lost


def gone_of(candidate: NDArray[Any], zeros: NDArray[Any]) -> NDArray[Any]:
    """Marks vectors that are all zeros although they should not be. A vector of length 1 counts as a number."""
    gone: NDArray[Any] = (candidate == 0).all(axis=-1) & zeros.any(axis=-1) & (candidate.shape[-1] > 1)
    return gone


def cosine_of(reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[Any]:
    """Cosine similarity of rows `[rows, n]`; two zero rows count as equal."""
    with np.errstate(invalid="ignore"):  # infinities have already been counted as breaches
        norms = np.linalg.norm(reference, axis=-1) * np.linalg.norm(candidate, axis=-1)
        products = (reference * candidate).sum(axis=-1)
        return np.where(norms > 0, products / np.where(norms > 0, norms, 1), (reference == candidate).all(axis=-1))


def agree(reference: NDArray[Any], candidate: NDArray[Any], margin: float) -> NDArray[Any]:
    """Marks rows where the candidate's best entry is the reference's best, or equally good within `margin`."""
    chosen = np.take_along_axis(reference, candidate.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        agreeing: NDArray[Any] = reference.max(axis=-1) - chosen <= margin
        return agreeing
