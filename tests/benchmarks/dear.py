"""The dearest requests that frontends take, within what they allow: what `make bench-memory` sends."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..exporter.triton_models.pictures import chunk, encoded, noise, png, progressive

#: Entry -> the asset it is exported from, and its task.
ENTRIES = {
    "sentiment": ("bert-sentiment", "text-classification"),
    "entities": ("bert-ner", "token-classification"),
    "answers": ("bert-qa", "question-answering"),
    "blanks": ("bert-mlm", "fill-mask"),
    "pictures_text": ("clip-fashion", None),
    "verses": ("gpt2-verses", "text-generation"),
    "clothes": ("vit-fashion", None),
}
#: Rows of a full batch.
BATCH = 64
MIB = 1 << 20


def filled(unit: str, size: int = MIB) -> str:
    """A text of `size` bytes, or a few less."""
    return unit * (size // len(unit.encode()))


#: What texts of 1 MiB are made of.
UNITS = {
    "words": "It was the best of films, it was the worst. ",
    "letters": "a ",
    "exclamation marks": "!",
    "spaces": " ",
    "one word": "a",
    "emoji": "😀",
    "Chinese": "東",
    "accents": "e\u0301",
    "ligatures": "ﷺ",
    "added tokens": "[MASK]",
}


@dataclass(frozen=True)
class Case:
    """What is asked of an entry: inputs, a value for each row. `callers`: how many ask at the same time. `options`: of the
    pipeline, for entries that generate."""

    entry: str
    name: str
    inputs: Mapping[str, Sequence[str | bytes]]
    callers: int = 1
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "images" if "image" in self.inputs else "texts"

    @property
    def size(self) -> int:
        values = [value for column in self.inputs.values() for value in column]
        return sum(len(value.encode() if isinstance(value, str) else value) for value in values)


def cases() -> Iterator[Case]:
    for unit, text in UNITS.items():
        yield Case("sentiment", f"1 MiB of {unit}", {"text": [filled(text)]})
    short, long = filled("!", 14_000), filled("!")
    yield Case("sentiment", "a pair of 14 kB each", {"text": [short], "text_pair": [short]})
    yield Case("sentiment", "a pair of 1 MiB each", {"text": [long], "text_pair": [long]})
    yield Case("sentiment", "4 rows of 1 MiB", {"text": [long] * 4})
    yield Case("sentiment", "12 rows of 1 MiB, in 3 requests", {"text": [long] * 12})
    yield Case("sentiment", "32 rows of 32 kB", {"text": [filled("!", 32_000)] * 32})
    yield Case("sentiment", "64 rows of 65 kB", {"text": [filled("!", 65_000)] * BATCH})
    yield Case("sentiment", "a batch of 1 MiB each", {"text": [long]}, BATCH)
    yield Case("sentiment", "a batch of pairs of 8 kB", {"text": [short[:8000]], "text_pair": [short[:8000]]}, BATCH)
    yield Case("sentiment", "a batch of pairs of 1 MiB", {"text": [long], "text_pair": [long]}, BATCH)
    yield Case("entities", "tokens and offsets of 1 MiB", {"text": [long]})
    yield Case("entities", "tokens and offsets, a batch", {"text": [long]}, BATCH)
    context = filled(UNITS["words"])
    yield Case("answers", "a context of 1 MiB", {"text": ["Who?"], "text_pair": [context]})
    yield Case("answers", "a context of 64 windows", {"text": ["Who?"], "text_pair": [filled("! ", 2 * 64 * 59)]})
    yield Case("answers", "a question of 1 MiB", {"text": [context], "text_pair": [context]})
    yield Case("answers", "contexts of 64 windows, a batch", {"text": ["?"], "text_pair": [long[: 64 * 59]]}, BATCH)
    yield Case("blanks", "full of masks", {"text": [filled("[MASK]")]})
    yield Case("blanks", "full of masks, a batch", {"text": [filled("[MASK]")]}, BATCH)
    for unit, text in UNITS.items():
        yield Case("pictures_text", f"1 MiB of {unit}", {"text": [filled(text)]})
    for unit, text in UNITS.items():
        yield Case("verses", f"a prompt of 1 MiB of {unit}", {"text_input": [filled(text)]})
    yield Case("verses", "prompts of 1 MiB of letters, a batch", {"text_input": [filled("a ")]}, BATCH)
    many = {"num_return_sequences": 64, "do_sample": True, "return_full_text": True}
    yield Case("verses", "64 texts with their prompt of 1 MiB", {"text_input": [filled("a ")]}, options=many)
    yield from _images()


def _images() -> Iterator[Case]:
    side, pixels = 1 << 13, 1 << 26  # the most that are taken
    files = {
        "12 MiB that are no image": b"\xff\xd8\xff" + bytes(12 * MIB),
        "a PNG of 67 million grey pixels": png(side, side, bytes(pixels)),
        "a PNG of 67 million pixels with alpha": rgba(side, side),
        "a progressive JPEG of 67 million pixels": progressive(side, side),
        "a PNG of 1 x 60,000 pixels": png(1, 60_000, bytes(60_000)),
        "a JPEG of 12 megapixels": encoded(noise(1000, 750).resize((4000, 3000)), "JPEG", quality=95),
        "a PNG of 12 MiB": encoded(noise(2200, 2200)),
    }
    for entry in ("clothes", "pictures_image"):
        for name, file in files.items():
            yield Case(entry, name, {"image": [file]})
        for name, file in files.items():
            yield Case(entry, f"{name}, a batch", {"image": [file]}, BATCH)


def rgba(width: int, height: int) -> bytes:
    """A PNG of transparent pixels."""
    packer = zlib.compressobj()
    row = bytes(1 + 4 * width)
    packed = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = chunk(b"IHDR", np.array([width, height], ">u4").tobytes() + bytes([8, 6, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
