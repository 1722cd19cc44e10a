"""Where a comparison found something wrong, in words: the input, the row of its batch, the token and the label, both values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any

#: Characters of a text that are quoted.
QUOTED = 60
#: Of them, those that two texts have in common before they differ.
_BEFORE = 20


@dataclass(frozen=True)
class Worst:
    """The value that breached a tolerance: the first that is not finite, or the one farthest from what was expected.

    `item`: which input it answers, from 0, and `input`: this input in words. `row`: which row of its batch, from 0. `index`: the
    value's place in the output of that input, and `where`: this place in words. `reference`: who gave `expected`. Both values are
    texts, numbers with as many digits as tell them apart. None and "" stand for what has no meaning.
    """

    item: int
    input: str
    row: int | None
    index: tuple[int, ...]
    where: str
    expected: str
    served: str
    reference: str = "PyTorch"

    @property
    def place(self) -> str:
        """The input, the row of its batch and the place in its output."""
        row = "" if self.row is None else f"row {self.row} of its batch"
        return ", ".join(part for part in (self.input, row, self.where) if part)

    def with_texts(self, expected: str, served: str) -> Worst:
        """With whole texts beside the values, quoted from where they differ."""
        texts = zip((self.expected, self.served), texts_apart(expected, served), strict=True)
        said, got = (f"{value}: {text}" for value, text in texts)
        return replace(self, expected=said, served=got)

    def sentence(self, who: str = "served") -> str:
        """The place and both values. `who` gave the second."""
        values = [f"{self.reference} {self.expected}"] if self.expected else []
        return f"{self.place}: {', '.join([*values, f'{who} {self.served}'])}"


@dataclass(frozen=True)
class Axis:
    """What an axis of an output counts. `names` gives the name of a place on it, if it has one."""

    counts: str
    names: Callable[[int], str | None] = lambda index: None

    def word(self, index: int) -> str:
        name = self.names(index)
        return f"{self.counts} {index}" + (f" ({name})" if name else "")


#: Output -> what its last axis counts, where that is not a label.
_LAST = {
    "span_logits": Axis("end point", ("start", "end").__getitem__),
    "embedding": Axis("dimension"),
    "last_hidden_state": Axis("dimension"),
    "cls_embedding": Axis("dimension"),
    "pooler_output": Axis("dimension"),
}
#: What an output is given per -> what its first axis counts. Rows of images may have one that counts patches.
_FIRST = {"token": "token", "mask": "mask", "row": "position"}


def axes_of(
    output: str,
    per: str,
    id2label: Mapping[int, str],
    names: Callable[[int], str | None] = lambda index: None,
) -> tuple[Axis, Axis]:
    """What the axes of an output count; one that has a single axis has the last of them. `names`: of the tokenizer's tokens."""
    label = Axis("token id", names) if per == "mask" else Axis("label", id2label.get)
    return Axis(_FIRST[per]), _LAST.get(output, label)


@dataclass(frozen=True)
class Places:
    """What the places in a comparison stand for. Pairs are numbered from 0, in the order in which they are compared.

    `items`: the input of each pair; None: each pair is the input of its number. `describe`: an input in words. `row`: a pair's
    row of its batch, given the index of a value in it; `told`: this index as it is told, where the array was put together.
    `axes`: of the compared arrays, the last ones. `reference`: who gave the first array of a pair.
    """

    items: Sequence[int] | None = None
    describe: Callable[[int], str] = lambda item: f"row {item}"
    row: Callable[[int, Sequence[int]], int | None] = lambda pair, index: None
    told: Callable[[int, Sequence[int]], Sequence[int]] = lambda pair, index: index
    axes: tuple[Axis, ...] = (Axis("entry"),)
    reference: str = "PyTorch"

    def item(self, pair: int) -> int:
        return pair if self.items is None else self.items[pair]

    def entry(self, index: int) -> str:
        """A place on the last axis, in words."""
        return self.axes[-1].word(index)

    def worst(self, pair: int, index: Sequence[int], dims: int, expected: str, served: str) -> Worst:
        """A value of a pair of arrays with `dims` axes; or a vector, where `index` ends before the last of them."""
        axes = [Axis("position")] * (dims - len(self.axes)) + list(self.axes[max(0, len(self.axes) - dims) :])
        item, row, told = self.item(pair), self.row(pair, index), tuple(map(int, self.told(pair, index)))
        where = ", ".join(axis.word(at) for axis, at in zip(axes, told, strict=False))
        return Worst(item, self.describe(item), row, told, where, expected, served, self.reference)


#: Nothing is known but numbers.
NUMBERED = Places()


def describe_input(inputs: Mapping[str, Sequence[Any]], item: int) -> str:
    """An input in words: the beginning of its texts, or the number of its image. `inputs`: name -> a value for each item."""
    values = [own[item] for name, own in inputs.items() if name != "sampling_parameters"]
    return described("image" if any(isinstance(value, bytes) for value in values) else "text", item, values)


def described(noun: str, number: int, values: Any) -> str:
    """Something with its number and the beginnings of its texts: those in `values`, at any depth."""
    said = ", ".join(quoted(text) for text in _texts_in(values))
    return f"{noun} {number}" + (f" ({said})" if said else "")


def quoted(text: str) -> str:
    """A text's beginning between quotation marks, on one line, with what cannot be seen written out."""
    short = text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"
    return json.dumps(short, ensure_ascii=False)


def texts_apart(expected: str, served: str) -> tuple[str, str]:
    """Two texts, quoted from shortly before the first character that differs."""
    start = max(0, len(commonprefix((expected, served))) - _BEFORE)
    return tuple(quoted(text if not start else f"…{text[start:]}") for text in (expected, served))


def numbers_apart(expected: float, served: float) -> tuple[str, str]:
    """Two numbers with as few digits as tell them apart, and no fewer than four."""
    for digits in range(4, 18):
        said = (f"{expected:.{digits}g}", f"{served:.{digits}g}")
        if said[0] != said[1]:
            break
    return said


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts_in(one)
