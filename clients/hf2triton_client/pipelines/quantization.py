"""Embeddings in 8 bits or 1 bit for each number, as sentence-transformers quantizes them.

Follows `quantize_embeddings` in sentence_transformers/util/quantization.py (version 6).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

log = logging.getLogger(__name__)

Array = NDArray[Any]
#: From fewer embeddings, ranges are a poor estimate.
_FEW = 100
#: Precision -> its type, and the function that turns steps 0 to 255 (int8, uint8) or packed bits (binary, ubinary) into it.
_SCALAR: Mapping[str, Callable[[Array], Array]] = {
    "int8": lambda steps: (steps - 128).astype(np.int8),
    "uint8": lambda steps: steps.astype(np.uint8),
}
_BITS: Mapping[str, Callable[[Array], Array]] = {
    "binary": lambda bits: (bits.astype(np.int16) - 128).astype(np.int8),
    "ubinary": lambda bits: bits,
}
PRECISIONS = ("float32", *_SCALAR, *_BITS)


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None) -> Any:
    """Embeddings in another precision: an array of the same shape; for `binary` and `ubinary`, 8 dimensions are one number.

    `embeddings`: `[n, dim]` or `[dim]`, or a list of token embeddings `[tokens, dim]`, which share their ranges. `precision`:
    `float32`; `int8` and `uint8`, which divide the range of each dimension into 255 steps; `binary` and `ubinary`, the signs as
    bits. `ranges`: the smallest and the largest value of each dimension, `[2, dim]`. Without them, they are those of
    `calibration_embeddings` `[n, dim]`, or else of the embeddings themselves: then embeddings of different calls are not on the
    same scale. Raises InputError.
    """
    require_precision(precision)
    if isinstance(embeddings, (list, tuple)) and len(embeddings) and np.ndim(embeddings[0]) == 2:
        return _of_tokens(embeddings, precision, ranges, calibration_embeddings)
    array = _floats(embeddings)
    if precision in _BITS:
        return _BITS[precision](np.packbits(array > 0, axis=-1))
    if precision in _SCALAR:
        if array.ndim == 2 and not len(array):
            return _SCALAR[precision](array)
        bounds = _ranges(array, precision, calibration_embeddings) if ranges is None else np.asarray(ranges)
        return _SCALAR[precision](_steps(array, bounds.astype(np.float32, copy=False)))
    return array.astype(np.float32)


def require_precision(precision: str) -> None:
    """Raises InputError for an unknown precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision should be one of {', '.join(PRECISIONS)}, not {precision!r}")


def _of_tokens(embeddings: Sequence[Any], precision: str, ranges: Any, calibration_embeddings: Any) -> list[Array]:
    arrays = [_floats(array) for array in embeddings]
    if precision in _SCALAR and ranges is None:
        ranges = _ranges(np.concatenate(arrays), precision, calibration_embeddings)
    return [quantize_embeddings(array, precision, ranges) for array in arrays]


def _steps(embeddings: Array, ranges: Array) -> Array:
    """The step of each number, 0 to 255, as a float."""
    if ranges.shape != (2, embeddings.shape[-1]):
        raise InputError(f"ranges should be [2, {embeddings.shape[-1]}], not {list(ranges.shape)}")
    steps = (ranges[1] - ranges[0]) / 255
    steps = np.where(steps == 0, 1, steps)
    clipped: Array = np.clip(np.floor((embeddings - ranges[0]) / steps), 0, 255)
    return clipped


def _ranges(embeddings: Array, precision: str, calibration_embeddings: Any) -> Array:
    """The smallest and the largest value of each dimension, `[2, dim]`."""
    if calibration_embeddings is None:
        if embeddings.ndim == 1 or len(embeddings) == 1:
            raise InputError(
                f"{precision} needs the ranges of many embeddings, and there is one: call quantize_embeddings with ranges or"
                " calibration_embeddings"
            )
        if len(embeddings) < _FEW:
            log.warning(
                "the ranges of %s come from %d embeddings only; give ranges or calibration_embeddings to quantize_embeddings",
                precision,
                len(embeddings),
            )
    given = embeddings if calibration_embeddings is None else _floats(calibration_embeddings)
    return np.vstack((given.min(axis=0), given.max(axis=0)))


def _floats(embeddings: Any) -> Array:
    array = np.asarray(embeddings)
    if array.dtype.kind != "f" or array.ndim not in (1, 2):
        raise InputError(
            f"embeddings to quantize should be floats [n, dim] or [dim], not {array.dtype} {list(array.shape)}"
        )
    return array
