"""Reads encoded images within bounds: whatever a file claims, reading it takes limited time and memory.

Headers are checked before anything is decoded. The parts of Pillow's readers that are written in C are quick. What they do in
Python, piece by piece, is bounded by the number of pieces.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
    TiffTags,
    WebPImagePlugin,
)

T = TypeVar("T")

#: The longest edge in pixels: Pillow takes 16 bytes for each row, and for each pixel of an edge that is resized.
MAX_EDGE = 1 << 20
#: How often a file may be read from: once for each PNG chunk, JPEG segment, GIF block, TIFF tile or BMP run.
MAX_READS = 1 << 19
#: The most strips or tiles of an uncompressed TIFF: Pillow makes a decoder for each.
MAX_TILES = 1 << 16
#: The most numbers in all tags of a TIFF (Pillow takes 50 bytes for each), and the most bytes of EXIF.
MAX_NUMBERS, MAX_EXIF = 1 << 22, 1 << 20
#: The most pixels of a run-length encoded bitmap, which Pillow unpacks in Python, and the most pixels times scans of a JPEG,
#: because each scan goes over all pixels.
MAX_RUN_PIXELS, MAX_SCANNED = 1 << 23, 1 << 30


class Refused(ValueError):
    """An image is not accepted; the message names the limit or the format."""


class _WebP(WebPImagePlugin.WebPImageFile):
    """A WebP file. Its decoder holds two more copies of the image, which are not needed after the first frame."""

    def _get_next(self) -> tuple[bytes, int, int]:
        frame = super()._get_next()
        self._decoder = None
        return frame


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Counts numbers, strips and tiles by the size of their lists, before Pillow expands them (to 300 bytes for each tile)."""

    def _open(self) -> None:
        assert isinstance(self.fp, io.BytesIO)  # a _File
        numbers = _numbers(self.fp.getvalue())
        if numbers > MAX_NUMBERS:
            raise Refused(f"the image has {numbers:,} numbers in its tags; at most {MAX_NUMBERS:,} are taken")
        super()._open()

    def _setup(self) -> None:
        tags = self.tag_v2
        for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS):
            tiles = len(tags._tagdata.get(tag, b"")) // _SIZES.get(tags.tagtype.get(tag, 0), 1)
            if tiles > MAX_TILES and tags.get(TiffImagePlugin.COMPRESSION, 1) == 1:
                raise Refused(f"the image has {tiles:,} strips or tiles; at most {MAX_TILES:,} are taken")
        super()._setup()


#: TIFF types that stay bytes, and integer types -> their bytes.
_TEXTS = [TiffTags.BYTE, TiffTags.ASCII, TiffTags.UNDEFINED]
_SIZES = {TiffTags.SHORT: 2, TiffTags.LONG: 4, TiffTags.LONG8: 8}


def _numbers(data: bytes, directory: int | None = None) -> int:
    """How many numbers all tags of a TIFF's first directory have, including its nested directories. Lists longer than the file
    are not counted, because Pillow leaves them out. `directory`: the place of a nested directory."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    long, few = (np.dtype(f"{order}u{size}") for size in ((8, 8) if big else (4, 2)))
    entry = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", long), ("value", long)])
    place = int(np.frombuffer(data, long, 1, long.itemsize)[0]) if directory is None else directory
    begin = place + few.itemsize
    if begin + entry.itemsize > len(data):
        return 0
    tags = min(int(np.frombuffer(data, few, 1, place)[0]), (len(data) - begin) // entry.itemsize)
    found = np.frombuffer(data, entry, tags, begin)
    numbers = int(found["count"][~np.isin(found["type"], _TEXTS) & (found["count"] <= len(data))].sum())
    if directory is None:
        for group in TiffTags.TAGS_V2_GROUPS:
            numbers += sum(_numbers(data, int(inner)) for inner in found["value"][found["tag"] == group][:1])
    return numbers


#: Format -> how its files begin, and Pillow's reader. Image.open is not used: its limit would apply before these, and lifting it
#: for one call would affect other threads.
FORMATS: Mapping[str, tuple[re.Pattern[bytes], type[ImageFile.ImageFile]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _WebP),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    "BMP": (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), _Tiff),
}
#: Modes with more than 8 bits per channel.
_DEEP = re.compile("I|F")
#: Bytes per pixel of a mode, if not four.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}


def check_pixels(width: int, height: int, most: int, what: str = "the image is {} pixels") -> None:
    """Raises Refused if there are more than `most` pixels."""
    if width * height > most:
        raise Refused(f"{what.format(by(width, height))}, {width * height:,} in all; at most {most:,} are taken")


def by(width: int, height: int) -> str:
    return f"{width:,} x {height:,}"


class EncodedImage:
    """A file whose header has been read. Raises Refused if it has more than `max_pixels`, or if a reader rejects it."""

    def __init__(self, data: bytes, max_pixels: int) -> None:
        name = next((name for name, (beginning, _) in FORMATS.items() if beginning.match(data)), None)
        if name is None:
            raise Refused(f"this is not an image in a format that is taken: {', '.join(FORMATS)}")
        self._name, self._data, self._max_pixels = name, data, max_pixels
        self._image = self._try(lambda: FORMATS[name][1](_File(data)))
        check_pixels(*self.size, max_pixels)
        if max(self.size) > MAX_EDGE:
            raise Refused(f"the image is {by(*self.size)} pixels; an edge may have at most {MAX_EDGE:,}")
        self._beside = self._try(lambda: _BESIDE[name](self._image, data, max_pixels))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, which turning the image upright may swap."""
        return self._image.size

    def bytes_in(self, mode: str) -> int:
        """Roughly the most bytes that the decoded image takes until it is in Pillow's `mode`."""
        image, pixels = self._image, self.size[0] * self.size[1]
        stored = _STORED.get(image.mode, 4)
        converted = stored + 4 if image.mode != mode or "exif" in image.info else stored
        on_white = 8 if "transparency" in image.info else 0
        return max(pixels * max(converted, on_white), pixels * stored + self._beside)

    def decoded(self, mode: str) -> Image.Image:
        """Returns the upright image in RGB, or the first frame of an animation, like `transformers.image_utils.load_image`. For
        mode L, returns that image in grey. Images with more than 8 bits are refused, because they would lose the rest. Call this
        once."""
        image = self._image
        del self._image  # from now on, only `decode` needs it

        def decode() -> Image.Image:
            image.load()  # Pillow would otherwise do so later, outside this `_try`
            if len(image.info.get("exif", b"")) > MAX_EXIF:
                raise Refused(
                    f"the image has {len(image.info['exif']):,} bytes of EXIF; at most {MAX_EXIF:,} are taken"
                )
            ImageOps.exif_transpose(image, in_place=True)
            if mode == "L" and _DEEP.match(image.mode):
                raise Refused("the image has more than 8 bits a pixel; the model takes greyscale images of 8 bits")
            if image.mode == mode:
                return image
            converted = image.convert("RGB")
            return converted if mode == "RGB" else converted.convert(mode)

        return self._try(decode)

    def _try(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except Refused:
            raise
        except Image.DecompressionBombError as error:  # from the readers' checks of frames and tiles
            raise Refused(f"the image has too many pixels; at most {self._max_pixels:,} are taken ({error})") from error
        except Exception as error:  # a reader may raise anything for a broken file
            raise Refused(f"the image cannot be read as {self._name}: {str(error) or type(error).__name__}") from error


def _too_many_parts() -> Refused:
    return Refused(f"the image has too many parts; at most {MAX_READS:,} are read")


class _File(io.BytesIO):
    """Counts how often it is read from."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _too_many_parts()
        return super().read(size)


#: The marker that ends a scan. It is not a byte 0xFF of the scan itself, which is followed by a zero, nor a marker without a
#: length (0x01 and restarts), which decoders skip.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_SCAN, _END = 0xDA, 0xD9


def _jpeg(image: JpegImagePlugin.JpegImageFile, data: bytes, max_pixels: int) -> int:
    """With several scans, all coefficients (16 bits each) are kept until the last scan."""
    assert image.fp is not None  # open until the image is decoded
    pixels = image.width * image.height
    most = max(MAX_SCANNED // max(pixels, 1), 16)
    scans = _scans(data, image.fp.tell(), most)
    if scans > most:
        raise Refused(
            f"the image is {by(*image.size)} pixels in more than {most:,} scans, which are the most that are taken"
        )
    return 2 * pixels * len(image.getbands()) if scans > 1 or "progressive" in image.info else 0


def _scans(data: bytes, position: int, most: int) -> int:
    """How many scans a JPEG has; `position` is within the first scan. Stops counting beyond `most`."""
    scans = 1
    if data.find(bytes([0xFF, _SCAN]), position) < 0:
        return scans
    for _ in range(MAX_READS):
        found = _MARKER.search(data, position)
        if found is None or found[0][1] == _END or scans > most:
            return scans
        scans += found[0][1] == _SCAN
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise _too_many_parts()


def _bmp(image: BmpImagePlugin.BmpImageFile, data: bytes, max_pixels: int) -> int:
    if any(tile[0] == "bmp_rle" for tile in image.tile):
        check_pixels(image.width, image.height, MAX_RUN_PIXELS, "the image is a bitmap in runs of {} pixels")
        return 4 * image.width * image.height
    return 0


def _tiff(image: TiffImagePlugin.TiffImageFile, data: bytes, max_pixels: int) -> int:
    """A compressed strip or tile is unpacked as a whole and may be larger than the image; others are read individually."""
    width, height = (image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    if not (isinstance(width, int) and isinstance(height, int)):
        raise Refused(f"the image has tiles of {width} x {height} pixels")
    check_pixels(width, height, max_pixels, "the image has tiles of {} pixels")
    return _STORED.get(image.mode, 4) * max(width * height, image.width * image.height)


#: Format -> a function that returns the bytes its reader takes besides the image, or raises Refused if reading would take too
#: long.
_BESIDE: Mapping[str, Callable[[Any, bytes, int], int]] = {
    "JPEG": _jpeg,
    "PNG": lambda image, data, max_pixels: 0,
    "WEBP": lambda image, data, max_pixels: 8 * image.width * image.height,
    "GIF": lambda image, data, max_pixels: 0,
    "BMP": _bmp,
    "TIFF": _tiff,
}
