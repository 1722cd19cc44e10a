"""Turns images as callers have them into the encoded files that are sent.

Accepts what `transformers.pipeline` accepts (transformers/image_utils.py, load_image), plus bytes and numpy arrays.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

#: Seconds to fetch a URL, unless the call says otherwise.
TIMEOUT = 30.0


def images_of(inputs: Any, timeout: float | None = None) -> tuple[list[bytes], bool]:
    """The encoded files of an image or a list of images, and whether it was a single image. Raises InputError, with the index."""
    single = not isinstance(inputs, (list, tuple))
    values: Sequence[Any] = [inputs] if single else inputs
    if not values:
        raise InputError("the list of images is empty")
    return [_encoded(value, index, timeout or TIMEOUT) for index, value in enumerate(values)], single


def _encoded(value: Any, index: int, timeout: float) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
    elif isinstance(value, Path):
        data = _file(value, index)
    elif isinstance(value, str):
        data = _named(value, index, timeout)
    elif isinstance(value, np.ndarray):
        data = _png(_pillow(index).fromarray(_as_bytes(value, index)))
    elif hasattr(value, "getexif") and hasattr(value, "convert"):
        data = _png(value)
    else:
        raise InputError(
            f"image {index} should be a path, a URL, bytes, a PIL image or a numpy array, not {type(value).__name__}"
        )
    if not data:
        raise InputError(f"image {index} is empty")
    return data


def _named(value: str, index: int, timeout: float) -> bytes:
    """The bytes that a string refers to: a URL, a path, or base64 (with or without a leading `data:image/…,`)."""
    if value.startswith(("http://", "https://")):
        return _fetched(value, index, timeout)
    if len(value) < 4096 and os.path.isfile(value):  # noqa: PTH113 – Path.is_file raises an error for a name that is too long
        return _file(Path(value), index)
    content = value.split(",", 1)[-1] if value.startswith("data:image/") else value
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"image {index} is not a file, a URL or base64: {value[:80]!r}") from None


def _file(path: Path, index: int) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"image {index} cannot be read: {error}") from error


def _fetched(url: str, index: int, timeout: float) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            data: bytes = answer.read()
            return data
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"image {index} cannot be fetched from {url}: {error}") from error


def _as_bytes(array: NDArray[Any], index: int) -> NDArray[Any]:
    """An array `[height, width]` or `[height, width, 1, 3 or 4]` of uint8, without the axis of a single channel. Raises
    InputError."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(
            f"image {index} is an array of {array.dtype} {list(array.shape)}; it should be uint8 [height, width, 3]"
        )
    return array


def _png(image: Any) -> bytes:
    """A PIL image as PNG, rotated according to its EXIF data, in RGB as the model sees it."""
    from PIL import ImageOps

    file = io.BytesIO()
    ImageOps.exif_transpose(image).convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _pillow(index: int) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise InputError(f"image {index} is an array, which needs the package pillow to be sent") from None
    return Image
