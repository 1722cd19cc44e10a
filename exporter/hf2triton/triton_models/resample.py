"""Computes part of a resized image, without the rest.

A thin image becomes huge if its shortest edge decides the size, and then all but its middle is cropped away. This module computes
only that middle, in the arithmetic of Pillow's `Image.resize` for 8 bits per channel, so that the pixels are the same bit for bit
(https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c): first along the rows, then along the columns, each
time with weights of 22 bits and rounded to a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BITS = 22


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0.0 or x >= 1.0:
        return float(x == 0.0)
    # Pillow has these two in single precision
    return _sinc(x) * (float(np.float32(0.54)) + float(np.float32(0.46)) * math.cos(x * math.pi))


def _bicubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


def _sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0


#: Pillow's number for a filter -> its function, and how far it reaches.
FILTERS: Mapping[int, tuple[Callable[[float], float], float]] = {
    Image.Resampling.BOX: (_box, 0.5),
    Image.Resampling.BILINEAR: (_bilinear, 1.0),
    Image.Resampling.HAMMING: (_hamming, 1.0),
    Image.Resampling.BICUBIC: (_bicubic, 2.0),
    Image.Resampling.LANCZOS: (_lanczos, 3.0),
}


def resized_part(
    image: Image.Image, size: tuple[int, int], resample: int, box: tuple[int, int, int, int]
) -> Image.Image:
    """`image.resize(size, resample).crop(box)`, for an image in RGB or L that does not become smaller, and a filter of
    FILTERS."""
    left, top, right, bottom = box
    columns = range(max(left, 0), min(right, size[0]))
    rows = range(max(top, 0), min(bottom, size[1]))
    first, across = _weights(image.width, size[0], columns, resample)
    highest, down = _weights(image.height, size[1], rows, resample)
    window = (min(first), min(highest), max(first) + across.shape[1], max(highest) + down.shape[1])
    # beyond the image the window is black, and its weights are 0
    values = np.asarray(image.crop(window)).astype(np.int32)
    if image.width != size[0]:
        values = _pass(values.swapaxes(0, 1), [start - window[0] for start in first], across).swapaxes(0, 1)
    else:
        values = values[:, columns.start - window[0] :][:, : len(columns)]
    if image.height != size[1]:
        values = _pass(values, [start - window[1] for start in highest], down)
    else:
        values = values[rows.start - window[1] :][: len(rows)]
    part = Image.new(image.mode, (right - left, bottom - top))
    part.paste(Image.fromarray(values.astype(np.uint8)), (columns.start - left, rows.start - top))
    return part


def _weights(length: int, resized: int, places: range, resample: int) -> tuple[list[int], NDArray[Any]]:
    """For each of `places` in an edge resized from `length` to `resized` pixels: the first pixel that counts, and the weights
    from there on, int32 `[places, weights]`, in units of 2 ** -22."""
    function, support = FILTERS[resample]
    scale = length / resized
    firsts, weights = [], np.zeros((len(places), 2 * math.ceil(support) + 1), np.int32)
    for row, place in enumerate(places):
        center = (place + 0.5) * scale
        first, end = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), length)
        own, total = [function(pixel - center + 0.5) for pixel in range(first, end)], 0.0
        for weight in own:  # not sum(), which rounds differently from Python 3.12 on
            total += weight
        own = [weight / (total or 1.0) * (1 << _BITS) for weight in own]
        weights[row, : len(own)] = [int(weight + math.copysign(0.5, weight)) for weight in own]
        firsts.append(first)
    return firsts, weights


def _pass(values: NDArray[Any], firsts: list[int], weights: NDArray[Any]) -> NDArray[Any]:
    """Resamples along the first axis. Each result is the weighted sum of the values from its first on, rounded and clipped to a
    byte; int32."""
    result = np.full((len(firsts), *values.shape[1:]), 1 << (_BITS - 1), np.int32)
    ones = (1,) * (values.ndim - 1)
    for index in range(weights.shape[1]):
        result += values[np.array(firsts) + index] * weights[:, index].reshape(-1, *ones)
    return np.clip(result >> _BITS, 0, 255)
