"""Texts of every kind that Unicode, and what is no Unicode, allows."""

from __future__ import annotations

import random
from collections.abc import Callable

from .example import OUTPUTS, Example, Recipe, recipe_of, strings

#: The most bytes that a text may have.
LIMIT = 1 << 20
_SPECIAL = ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<|endoftext|>", "<s>", "</s>")
_INVALID = (
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xff",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
    b"\xf8\x88\x80\x80\x80",
)


def _anything(rng: random.Random) -> bytes:
    """Code points of all planes, surrogates left out."""
    tops = [0x7F, 0x7FF, 0xFFFF, 0x10FFFF]
    points = (rng.randrange(rng.choice(tops) + 1) for _ in range(rng.randrange(1, 200)))
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000).encode() or b"a"


def _controls(rng: random.Random) -> bytes:
    return "".join(
        chr(rng.choice([*range(32), 127, *range(0x80, 0xA0), 0x200B, 0x2028, 0xFEFF])) for _ in range(40)
    ).encode()


def _marks(rng: random.Random) -> bytes:
    """Letters under heaps of marks, right to left and joined."""
    heap = "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.choice([5, 200, 3000])))
    return f"a{heap}\u202e\u05d0\u0651\u200d{chr(0x1F468)}\u200d{chr(0x1F469)}".encode()


def _invalid(rng: random.Random) -> bytes:
    text = bytearray(_anything(rng))
    text[rng.randrange(len(text)) :] = rng.choice(_INVALID)
    return bytes(text)


def _special(rng: random.Random) -> bytes:
    """Words that tokenizers take for more than words."""
    return " ".join(rng.choice([*_SPECIAL, "word", "##ing", "Ġ"]) for _ in range(rng.randrange(1, 300))).encode()


def _words(rng: random.Random) -> bytes:
    return b"word " * rng.choice([0, 1, 127, 128, 129, 2000])


_KINDS: tuple[Callable[[random.Random], bytes], ...] = (_anything, _controls, _marks, _invalid, _special, _words)
#: What a long text is made of: each of these is tokenized in another way.
_UNITS = ("!", "a", " ", "é", "中", "😀", "a ", "ab1 ", "\n", "\u0301", "[MASK] ", "\u200d", "0", "'s")


def huge(rng: random.Random, most: int = LIMIT) -> Recipe:
    """A long text, as short as it is written down."""
    unit = rng.choice(_UNITS)
    size = rng.choice([1 << 12, 14_000, 1 << 16, most])
    return {"repeat": [{"text": unit}, min(size, most) // len(unit.encode())]}


def text_of(rng: random.Random) -> Recipe:
    """A text, one in twelve of them long."""
    return huge(rng, 1 << 16) if rng.randrange(12) == 0 else recipe_of(rng.choice(_KINDS)(rng))


#: Task -> the inputs that are texts. Those of a pair are optional but where they are not.
_INPUTS = {
    "text-classification": ("text", "text_pair"),
    "token-classification": ("text",),
    "question-answering": ("text", "text_pair"),
    "fill-mask": ("text",),
    "zero-shot-image-classification": ("text",),
    "text-generation": ("text_input",),
}
TASKS = tuple(_INPUTS)


def example(rng: random.Random, task: str) -> Example:
    """A request with one text or several, or pairs of them."""
    names = _INPUTS[task]
    if task == "text-classification" and rng.randrange(3):
        names = names[:1]
    rows = 1 if task == "text-generation" else rng.choice([1, 1, 3])
    inputs = {name: [text_of(rng) for _ in range(rows)] for name in names}
    if task == "text-generation":
        inputs["sampling_parameters"] = [{"text": '{"max_new_tokens": 2, "truncate_prompt": true}'}]
    reads = "text" if task == "zero-shot-image-classification" else ""
    return strings(task, inputs, OUTPUTS[task], reads)
