"""Files of images, broken in every way that a disk, a network or a stranger breaks them."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Callable

from .example import OUTPUTS, Example, recipe_of, strings

TASKS = ("image-classification", "zero-shot-image-classification")
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
_MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "L", "1", "I;16"), "WEBP": ("RGB", "RGBA")}


@functools.cache
def whole(form: str, mode: str, size: int, frames: int = 1) -> bytes:
    """A good file, in a format that Pillow writes."""
    from PIL import Image

    from ..cast import picture

    image = Image.open(io.BytesIO(picture(0))).convert("RGB").resize((size, size))
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    target = io.BytesIO()
    more = {"save_all": True, "append_images": [image.rotate(90 * n) for n in range(1, frames)]} if frames > 1 else {}
    image.save(target, form, **more)
    return target.getvalue()


def _any(rng: random.Random) -> bytearray:
    form = rng.choice(FORMATS)
    frames = rng.choice([1, 3]) if form in ("GIF", "WEBP", "TIFF") else 1
    return bytearray(whole(form, rng.choice(_MODES.get(form, ("RGB", "L"))), rng.choice([1, 8, 33, 64]), frames))


def _cut_short(rng: random.Random, data: bytearray) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def _flipped(rng: random.Random, data: bytearray) -> bytes:
    for _ in range(rng.choice([1, 3, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _header(rng: random.Random, data: bytearray) -> bytes:
    """Other numbers where sizes, offsets and lengths stand."""
    for _ in range(rng.choice([1, 2, 6])):
        at = rng.randrange(min(64, len(data)))
        value = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\1\0\0\0", b"\xff\xff", b"\0\0"])
        data[at : at + len(value)] = value
    return bytes(data)


def _spliced(rng: random.Random, data: bytearray) -> bytes:
    """Two files, or the same one twice, put together somewhere."""
    other = rng.choice([data, _any(rng)])
    return bytes(data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :])


def _zeroed(rng: random.Random, data: bytearray) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([4, 50, 1000]))
    data[start:end] = bytes(end - start)
    return bytes(data)


def _other_beginning(rng: random.Random, data: bytearray) -> bytes:
    """One format says that it is another."""
    return rng.choice([b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"\x89PNG\r\n\x1a\n"]) + bytes(data[8:])


def _junk(rng: random.Random, data: bytearray) -> bytes:
    return rng.choice([b"", b"\0", rng.randbytes(rng.choice([10, 5000])), bytes(data) + rng.randbytes(5000)])


_MUTATIONS: tuple[Callable[[random.Random, bytearray], bytes], ...] = (
    _cut_short,
    _flipped,
    _header,
    _spliced,
    _zeroed,
    _other_beginning,
    _junk,
)


def broken(rng: random.Random) -> bytes:
    """A file that was one, mostly."""
    return rng.choice(_MUTATIONS)(rng, _any(rng))


def example(rng: random.Random, task: str) -> Example:
    """A request with one broken image, or with a good one beside it."""
    files = [broken(rng)] + ([whole("PNG", "RGB", 33)] if rng.randrange(4) == 0 else [])
    reads = "image" if task == "zero-shot-image-classification" else ""
    return strings(task, {"image": [recipe_of(file) for file in files]}, OUTPUTS[task], reads)
