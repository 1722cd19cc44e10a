"""Files of images for tests: noise that Pillow writes, and files made by hand that say of themselves what nobody would write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

#: TIFF's tags.
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS = 273, 277, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
ORIENTATION, RESOLUTION, EXIF = 274, 282, 34665
#: Of COMPRESSION.
RAW, DEFLATE = 1, 8

#: What entries say of their images: one edge follows the other, and all but the middle is cropped away; or both edges are given.
CLIP = {
    "num_channels": 3,
    "do_convert_rgb": True,
    "size": {"shortest_edge": 32},
    "resample": Image.Resampling.BICUBIC,
    "crop_size": {"height": 32, "width": 32},
    "rescale_factor": 1 / 255,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "image_size": {"height": 32, "width": 32},
}
VIT = CLIP | {"size": {"height": 224, "width": 224}, "crop_size": None, "image_size": {"height": 224, "width": 224}}


def noise(width, height, mode="RGB", seed=0):
    """Colour gradients with noise: every pixel matters, and neighbours differ."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    rows, columns = np.mgrid[0:height, 0:width]
    steps = np.add.outer(np.arange(bands) * 70, rows * 3 + columns * 2)
    values = (steps + np.random.default_rng(seed).integers(0, 90, steps.shape)) % 256
    bytes_ = np.ascontiguousarray(values.transpose(1, 2, 0).astype(np.uint8))
    return Image.frombytes(mode, (width, height), bytes_.tobytes())


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, data: bytes = b"", before: bytes = b"", after: bytes = b"", size: int = 1 << 30
) -> bytes:
    """A PNG in grey. `data`: its pixels, row after row, in chunks of `size`; `before` and `after`: chunks beside those."""
    rows = b"".join(b"\0" + data[start : start + width] for start in range(0, len(data), width))
    packed = zlib.compress(rows)
    chunks = b"".join(chunk(b"IDAT", packed[start : start + size]) for start in range(0, len(packed), size))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunks + after + chunk(b"IEND", b"")


def bmp(width: int, height: int, runs: bytes, bits: int = 8) -> bytes:
    """A bitmap in runs, with a palette of greys."""
    colours = 1 << bits
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(0, 256, 256 // colours))
    start = 14 + 40 + len(palette)
    kind = {8: 1, 4: 2}[bits]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(runs), 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + palette + runs


def tiff(width: int, height: int, tags: Mapping[int, list[int]], data: bytes = b"", compression: int = RAW) -> bytes:
    """A TIFF in grey. `tags`: where its pixels are, in strips or tiles; offsets count from the beginning of `data`."""
    every = {
        WIDTH: [width],
        LENGTH: [height],
        BITS: [8],
        COMPRESSION: [compression],
        PHOTOMETRIC: [1],
        SAMPLES: [1],
    } | tags
    beyond = 8 + 2 + 12 * len(every) + 4
    pixels = beyond + sum(4 * len(values) for values in every.values() if len(values) > 1)
    entries, lists = b"", b""
    for tag, values in sorted(every.items()):
        if tag in (OFFSETS, TILE_OFFSETS):
            values = [pixels + value for value in values]
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", beyond + len(lists))
        lists += packed if len(values) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(every)) + entries + bytes(4) + lists + data


def progressive(width: int, height: int, more: bytes = b"", repeated: int = 0) -> bytes:
    """A JPEG of 10 scans that says it is so large, with its last scan so many times again, after the bytes `more` each."""
    file = encoded(noise(64, 64), "JPEG", progressive=True)
    size = file.index(b"\xff\xc2") + 5
    scan = file[file.rindex(b"\xff\xda") : -2]
    return (
        file[:size] + struct.pack(">HH", height, width) + file[size + 4 : -2] + (more + scan) * repeated + b"\xff\xd9"
    )


def exif_within(number):
    """A TIFF whose directory of EXIF has a tag of so many numbers."""
    inner = struct.pack("<HHHII", 1, 0x9000, 3, number, 8) + bytes(4)
    file = tiff(16, 16, strips(1, 16) | {EXIF: [0]}, bytes(256) + inner + bytes(2 * number))
    entry = file.index(struct.pack("<HHII", EXIF, 4, 1, 0))
    return file[: entry + 8] + struct.pack("<I", file.index(inner)) + file[entry + 12 :]


def tiles(number, width, height):
    return {TILE_WIDTH: [width], TILE_LENGTH: [height], TILE_OFFSETS: [0] * number, TILE_COUNTS: [1]}


def strips(number, rows=1):
    return {ROWS_PER_STRIP: [rows], OFFSETS: list(range(number)), COUNTS: [1] * number}
