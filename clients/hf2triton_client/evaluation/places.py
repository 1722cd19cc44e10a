"""Describes in words where a comparison found a breach: the input, the row of its batch, the token and the label, and both
values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any

#: How many characters of a text are quoted.
QUOTED = 60
#: How many of them precede the position where two texts differ.
_BEFORE = 20


@dataclass(frozen=True)
class Worst:
    """The value that breached a tolerance: the first that is not finite, or the one farthest from what was expected.

    `item`: the number of the input, from 0; `input`: this input in words. `row`: the row of its batch, from 0. `index`: the
    value's place in the output for that input; `where`: this place in words. `reference`: who gave `expected`. Both values are
    strings; numbers have as many digits as it takes to tell them apart. None and "" mean that a field does not apply.
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
        """The input, the row of its batch and the position in its output."""
        row = "" if self.row is None else f"row {self.row} of its batch"
        return ", ".join(part for part in (self.input, row, self.where) if part)

    def with_texts(self, expected: str, served: str) -> Worst:
        """The same breach with whole texts next to the values, quoted from where they differ."""
        texts = zip((self.expected, self.served), texts_apart(expected, served), strict=True)
        said, got = (f"{value}: {text}" for value, text in texts)
        return replace(self, expected=said, served=got)

    def sentence(self, who: str = "served") -> str:
        """The place and both values. `who`: the source of the second value."""
        values = [f"{self.reference} {self.expected}"] if self.expected else []
        return f"{self.place}: {', '.join([*values, f'{who} {self.served}'])}"


@dataclass(frozen=True)
class Axis:
    """What an axis of an output counts. `names`: returns the name of a position on the axis, if it has one."""

    counts: str
    names: Callable[[int], str | None] = lambda index: None

    def word(self, index: int) -> str:
        name = self.names(index)
        return f"{self.counts} {index}" + (f" ({name})" if name else "")


#: Output -> what its last axis counts, if not labels.
_LAST = {
    "span_logits": Axis("end point", ("start", "end").__getitem__),
    "embedding": Axis("dimension"),
    "token_embeddings": Axis("dimension"),
    "sparse_embedding": Axis("token id"),
    "last_hidden_state": Axis("dimension"),
    "cls_embedding": Axis("dimension"),
    "pooler_output": Axis("dimension"),
}
#: Granularity of an output -> what its first axis counts. Rows of images may have an axis that counts patches.
_FIRST = {"token": "token", "mask": "mask", "row": "position"}


def axes_of(
    output: str, per: str, id2label: Mapping[int, str], names: Callable[[int], str | None] = lambda index: None
) -> tuple[Axis, Axis]:
    """What the axes of an output count. An output with a single axis has the last of these. `names`: the names of the
    tokenizer's tokens."""
    label = Axis("token id", names) if per == "mask" else Axis("label", id2label.get)
    return Axis(_FIRST[per]), _LAST.get(output, label)


@dataclass(frozen=True)
class Places:
    """What the places in a comparison stand for. Pairs are numbered from 0, in the order of comparison.

    `items`: the input of each pair; None if the numbers are the same. `describe`: describes an input in words. `row`: a pair's
    row of its batch, given the index of a value in it; `told`: this index as it is reported, for arrays that were put together.
    `axes`: the last axes of the compared arrays. `reference`: the source of the first array of a pair.
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
        """A position on the last axis, in words."""
        return self.axes[-1].word(index)

    def worst(self, pair: int, index: Sequence[int], dims: int, expected: str, served: str) -> Worst:
        """A value of a pair of arrays with `dims` axes, or a vector if `index` ends before the last axis."""
        axes = [Axis("position")] * (dims - len(self.axes)) + list(self.axes[max(0, len(self.axes) - dims) :])
        item, row, told = self.item(pair), self.row(pair, index), tuple(map(int, self.told(pair, index)))
        where = ", ".join(axis.word(at) for axis, at in zip(axes, told, strict=False))
        return Worst(item, self.describe(item), row, told, where, expected, served, self.reference)


#: For comparisons where only the numbers of pairs are known.
NUMBERED = Places()


def describe_input(inputs: Mapping[str, Sequence[Any]], item: int) -> str:
    """An input in words: the beginning of its texts, or the number of its image. `inputs`: name -> a value for each item."""
    values = [own[item] for name, own in inputs.items() if name != "sampling_parameters"]
    return described("image" if any(isinstance(value, bytes) for value in values) else "text", item, values)


def described(noun: str, number: int, values: Any) -> str:
    """A noun with its number and the beginnings of the texts in `values`, at any depth."""
    said = ", ".join(quoted(text) for text in _texts_in(values))
    return f"{noun} {number}" + (f" ({said})" if said else "")


def quoted(text: str) -> str:
    """The beginning of a text in quotation marks, on one line, with invisible characters escaped."""
    short = text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"
    return json.dumps(short, ensure_ascii=False)


def texts_apart(expected: str, served: str) -> tuple[str, str]:
    """Two texts, quoted from shortly before the first character that differs."""
    start = max(0, len(commonprefix((expected, served))) - _BEFORE)  # noqa: RUF071 – of texts, not of paths
    dots = "…" if start else ""
    return quoted(f"{dots}{expected[start:]}"), quoted(f"{dots}{served[start:]}")


def numbers_apart(expected: float, served: float) -> tuple[str, str]:
    """Two numbers with as few digits as are needed to tell them apart, but at least four."""
    written = [(f"{expected:.{digits}g}", f"{served:.{digits}g}") for digits in range(4, 18)]
    return next((pair for pair in written if pair[0] != pair[1]), written[-1])


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts_in(one)
