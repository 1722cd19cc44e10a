"""Sparse embeddings: the parameters of a request, and the weights that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parameters import Check, integer, parse_parameters
from .sentences import CHECKS, SentenceRow

_CHECKS: Mapping[str, Check] = {**CHECKS, "max_active_dims": integer(1)}


@dataclass(frozen=True)
class SparseRow(SentenceRow):
    """A row of the graph. `most`: how many weights are kept; None: all that are not 0."""

    most: int | None

    def __len__(self) -> int:
        return len(self.encoding)


def parse(parameters: str) -> dict[str, Any]:
    """The parameters in a JSON object. Raises ValueError."""
    return parse_parameters(parameters, _CHECKS)


def largest(weights: NDArray[Any], most: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The entries of a sparse embedding `[vocabulary]` that are not 0, at most `most` of them, and their weights, the largest
    first: int32 and float32 `[n]`."""
    ids = np.flatnonzero(weights != 0)
    values = weights[ids]
    if most is not None and most < len(ids):
        best = np.argpartition(-values, most - 1)[:most]
        best.sort()  # in the order of the vocabulary, as all others
        ids, values = ids[best], values[best]
    order = np.argsort(-values, kind="stable")
    return ids[order].astype(np.int32), values[order].astype(np.float32)
