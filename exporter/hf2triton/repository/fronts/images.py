"""Images become pixels, the same ones that the checkpoint's own image processor makes of them.

Up to the crop a pixel is three bytes. Rescaling and normalising are therefore a table of 256 floats for each channel, made
once in the processor's own arithmetic: equal bit for bit, and no float is computed for an image.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .image_sizes import resized

#: Format -> how its files begin, and Pillow's reader. Not Image.open: its own limit would come before ours, and it cannot
#: be lifted for one call, as other threads would see that.
FORMATS: Mapping[str, tuple[re.Pattern[bytes], type[ImageFile.ImageFile]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    "BMP": (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
}


class Refused(ValueError):
    """An image that is not taken; the message says which limit or format is at fault."""


#: Channels of a model -> Pillow's mode of its images.
MODES = {1: "L", 3: "RGB"}
#: Modes with more than 8 bits a channel.
_DEEP = re.compile("I|F")


class ImageEncoder:
    """Prepares images as `spec` says, which `hf2triton.image_processor.read_image_spec` describes.

    An image of more than `max_bytes` as a file, or `max_pixels` as it is or when resized, is refused; while one is
    prepared, it takes up to eight bytes a pixel. `workers`: the images that are prepared at the same time.
    """

    def __init__(self, spec: Mapping[str, Any], max_bytes: int, max_pixels: int, workers: int) -> None:
        self._spec = spec
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._mode = MODES[_channels(spec)]
        self._tables = _tables(spec)
        self._pool = ThreadPoolExecutor(workers)

    def encode(self, images: Sequence[bytes]) -> list[np.ndarray | ValueError]:
        """float32 `[channels, height, width]` of each encoded file; the reason in the place of one that is not taken."""
        return list(self._pool.map(self._encode, images))

    def feeds(self, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's input, float32 `[len(rows), channels, height, width]`."""
        return {"pixel_values": np.stack(rows)}

    def _encode(self, data: bytes) -> np.ndarray | ValueError:
        try:
            return self._pixels(self._decode(data))
        except Refused as reason:
            return reason

    def _decode(self, data: bytes) -> Image.Image:
        """The upright image in RGB, the first frame of an animation: what `transformers.image_utils.load_image` gives. And for
        a model with one channel that made grey, unless it has more than 8 bits, which that would cut off."""
        if len(data) > self._max_bytes:
            raise Refused(f"the image has {len(data):,} bytes; at most {self._max_bytes:,} are taken")
        name = next((name for name, (beginning, _) in FORMATS.items() if beginning.match(data)), None)
        if name is None:
            raise Refused(f"this is not an image in a format that is taken: {', '.join(FORMATS)}")
        try:
            image = FORMATS[name][1](io.BytesIO(data))  # reads the header alone
            self._check_pixels(*image.size, "the image is {} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            image.load()  # which Pillow otherwise does when it must, beyond this try
            if self._mode == "L" and _DEEP.match(image.mode):
                raise Refused("the image has more than 8 bits a pixel; the model takes greyscale images of 8 bits")
            return image if image.mode == self._mode else image.convert("RGB").convert(self._mode)
        except Refused:
            raise
        except Image.DecompressionBombError as error:  # what a reader checks itself: frames, tiles
            raise Refused(f"the image has too many pixels; at most {self._max_pixels:,} are taken ({error})") from error
        except Exception as error:  # a reader raises whatever a broken file makes it stumble over
            raise Refused(f"the image cannot be read as {name}: {str(error) or type(error).__name__}") from error

    def _pixels(self, image: Image.Image) -> np.ndarray:
        spec = self._spec
        if spec["do_convert_rgb"] and image.info.get("transparency") is not None:
            image = _on_white(image)
        if spec["size"]:
            image = image.resize(self._resized(*image.size), spec["resample"])
        if spec["crop_size"]:
            image = _center_crop(image, **spec["crop_size"])
        expected = spec["image_size"]
        if expected and image.size != (expected["width"], expected["height"]):
            raise Refused(
                f"the image is {_by(*image.size)} pixels when it is prepared;"
                f" the model takes {_by(expected['width'], expected['height'])}, and nothing resizes to that"
            )
        values = np.asarray(image).reshape(image.height, image.width, -1)
        pixels = np.empty((len(self._tables), *values.shape[:2]), dtype=np.float32)
        for channel, table in enumerate(self._tables):
            # no byte is beyond the table: the mode only spares numpy the copy that it makes to raise an error
            np.take(table, values[:, :, channel], out=pixels[channel], mode="clip")
        return pixels

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing. An extreme shape can become huge, or nothing: one edge follows the other."""
        size = resized(self._spec["size"], width, height)
        what = f"the image, {_by(width, height)} pixels, would be resized to {{}}"
        self._check_pixels(*size, what)
        if 0 in size:
            raise Refused(what.format(_by(*size)))
        return size

    def _check_pixels(self, width: int, height: int, what: str) -> None:
        if width * height > self._max_pixels:
            raise Refused(
                f"{what.format(_by(width, height))}, {width * height:,} in all; at most {self._max_pixels:,} are taken"
            )


def _channels(spec: Mapping[str, Any]) -> int:
    return spec.get("num_channels", 3)  # which older entries do not have


def _tables(spec: Mapping[str, Any]) -> list[np.ndarray]:
    """For each channel what its bytes 0 to 255 become, float32, in the order and precision of transformers' image_transforms:
    rescaled in float64, rounded to float32, normalised in float32."""
    values = np.arange(256, dtype=np.float32)
    if spec["rescale_factor"] is not None:
        values = (values.astype(np.float64) * spec["rescale_factor"]).astype(np.float32)
    if spec["image_mean"] is None:
        return [values] * _channels(spec)
    means, deviations = (np.array(spec[key], dtype=np.float32) for key in ("image_mean", "image_std"))
    return [(values - mean) / deviation for mean, deviation in zip(means, deviations, strict=True)]


def _on_white(image: Image.Image) -> Image.Image:
    """White where the image has its transparent colour, which converting to RGB keeps as a note."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """The middle, with black around an image that is smaller."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _by(width: int, height: int) -> str:
    return f"{width:,} x {height:,}"
