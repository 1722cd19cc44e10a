"""Turns images into the same pixels as the checkpoint's own image processor.

Up to the crop, a pixel is three bytes. So rescaling and normalising are a table of 256 floats for each channel, made once in the
processor's own arithmetic. The pixels are equal bit for bit, and no float is computed for an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .image_files import FORMATS, EncodedImage, Refused, by, check_pixels
from .image_sizes import BYTES_A_PIXEL, resized
from .memory import Budget, Returns
from .resample import FILTERS, resized_part

__all__ = ["FORMATS", "ImageEncoder", "Refused", "resized"]

#: Channels of a model -> Pillow's mode of its images.
MODES = {1: "L", 3: "RGB"}
#: Above this many pixels, only the cropped part of an enlarged image is computed; below, Pillow is just as quick.
_WHOLE = 1 << 22
#: In the order of Pillow's sizes.
_EDGES = ("width", "height")
#: How many rows of an image are put on a white background at a time.
_STRIP = 256


class ImageEncoder:
    """Prepares images according to `spec`, which `hf2triton.checkpoint.image_processor.read_image_spec` describes.

    Refuses an image whose file has more than `max_bytes`, or that has more than `max_pixels` before, during or after resizing.
    `workers`: how many images are prepared at the same time, as long as together they take no more than 8 bytes for each of
    `max_pixels`; an image that takes more (up to 12 bytes for each of its own pixels) is prepared alone.
    """

    def __init__(self, spec: Mapping[str, Any], max_bytes: int, max_pixels: int, workers: int) -> None:
        self._spec = spec
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._mode = MODES[_channels(spec)]
        self._tables = _tables(spec)
        self._pool = ThreadPoolExecutor(workers)
        self._budget = Budget(BYTES_A_PIXEL * max_pixels)
        self._returns = Returns()

    def encode(self, images: Sequence[bytes]) -> list[NDArray[Any] | ValueError]:
        """float32 `[channels, height, width]` for each encoded file, or the reason why it is refused."""
        results = list(self._pool.map(self._encode, images))
        self._returns.after(sum(map(len, images)) + self._budget.most())
        return results

    def feeds(self, rows: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The graph's input, float32 `[len(rows), channels, height, width]`."""
        return {"pixel_values": np.stack(rows)}

    def _encode(self, data: bytes) -> NDArray[Any] | ValueError:
        try:
            if len(data) > self._max_bytes:
                raise Refused(f"the image has {len(data):,} bytes; at most {self._max_bytes:,} are taken")
            file = EncodedImage(data, self._max_pixels)
            with self._budget.held(file.bytes_in(self._mode) + self._bytes_of_resizing(*file.size)):
                return self._pixels(file.decoded(self._mode))
        except Refused as reason:
            # a new error without a traceback, whose frames would keep the file in memory through a cycle
            return Refused(str(reason))

    def _pixels(self, image: Image.Image) -> NDArray[Any]:
        spec = self._spec
        if spec["do_convert_rgb"] and image.info.get("transparency") is not None:
            image = _on_white(image)
        size = self._resized(*image.size)
        crop = spec["crop_size"] and _middle(*size, **spec["crop_size"])
        if self._is_part(image.size, size):
            image = resized_part(image, size, spec["resample"], crop)
        else:
            image = image.resize(size, spec["resample"]) if spec["size"] else image
            image = image.crop(crop) if crop else image
        values = np.asarray(image).reshape(image.height, image.width, -1)
        pixels = np.empty((len(self._tables), *values.shape[:2]), dtype=np.float32)
        for channel, table in enumerate(self._tables):
            # no byte is beyond the table; "clip" only avoids the copy that numpy makes in case it has to raise an error
            np.take(table, values[:, :, channel], out=pixels[channel], mode="clip")
        return pixels

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing. Raises Refused if an extreme shape would become huge or empty (one edge follows the
        other), or if the prepared image would not have the size that the model takes."""
        spec, size = self._spec, (width, height)
        if spec["size"]:
            size = resized(spec["size"], width, height)
            what = f"the image, {by(width, height)} pixels, would be resized to {{}}"
            check_pixels(*size, self._max_pixels, what)
            if 0 in size:
                raise Refused(what.format(by(*size)))
            if not self._is_part((width, height), size):  # Pillow resizes the rows first
                check_pixels(size[0], height, self._max_pixels, f"{what.format(by(*size))} by way of {{}}")
        crop, expected = spec["crop_size"] or dict(zip(_EDGES, size, strict=True)), spec["image_size"] or {}
        if any(crop[edge] != expected.get(edge, crop[edge]) for edge in _EDGES):
            raise Refused(
                f"the image is {by(*(crop[edge] for edge in _EDGES))} pixels when it is prepared;"
                f" the model takes {by(*(expected[edge] for edge in _EDGES))}, and nothing resizes to that"
            )
        return size

    def _bytes_of_resizing(self, width: int, height: int) -> int:
        """The most bytes that resizing takes. Raises Refused if the image is refused both unturned and turned upright."""
        try:
            size = self._resized(width, height)
        except Refused:
            with suppress(Refused):
                self._resized(height, width)
                return self._bytes_of_resizing(height, width)
            raise
        return 0 if self._is_part((width, height), size) else 4 * size[0] * (height + size[1])

    def _is_part(self, size: tuple[int, int], resized: tuple[int, int]) -> bool:
        """Whether only the cropped part of a resized image is computed, because the whole is far larger than the original
        image."""
        enlarged = resized[0] >= size[0] and resized[1] >= size[1] and resized[0] * resized[1] > _WHOLE
        return enlarged and bool(self._spec["crop_size"]) and self._spec["resample"] in FILTERS


def _channels(spec: Mapping[str, Any]) -> int:
    channels: int = spec.get("num_channels", 3)  # older entries lack it
    return channels


def _tables(spec: Mapping[str, Any]) -> list[NDArray[Any]]:
    """What the bytes 0 to 255 of each channel become, float32, in the order and precision of transformers' image_transforms:
    rescaled in float64, rounded to float32, normalised in float32."""
    values = np.arange(256, dtype=np.float32)
    if spec["rescale_factor"] is not None:
        values = (values.astype(np.float64) * spec["rescale_factor"]).astype(np.float32)
    if spec["image_mean"] is None:
        return [values] * _channels(spec)
    means, deviations = (np.array(spec[key], dtype=np.float32) for key in ("image_mean", "image_std"))
    return [(values - mean) / deviation for mean, deviation in zip(means, deviations, strict=True)]


def _on_white(image: Image.Image) -> Image.Image:
    """Replaces the image's transparent colour with white; converting to RGB would only record it."""
    white = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        white.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return white


def _middle(image_width: int, image_height: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The box of this size in the middle of an image; if the image is smaller, there is black around it."""
    left, top = (image_width - width) // 2, (image_height - height) // 2
    return left, top, left + width, top + height
