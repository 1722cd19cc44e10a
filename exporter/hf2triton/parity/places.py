"""What rows and places in parity checks stand for: inputs, rows of a batch, tokens and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hf2triton_client.evaluation.places import Axis, Places, axes_of, describe_input, described, quoted

from ..checkpoint.preprocessing import as_text_preprocessor
from ..core.types import GraphOutput
from ..tasks.base import Inputs
from ..triton_models.preprocessor import Item, Preprocessor

if TYPE_CHECKING:
    from .calibration_inputs import Calibration


@dataclass(frozen=True)
class AskedItems:
    """What a graph is asked: the `items` that the `preprocessor` made of inputs, and the head's labels. `describe` turns an
    item's number into words."""

    preprocessor: Preprocessor
    describe: Callable[[int], str]
    items: Sequence[Item]
    id2label: Mapping[int, str] = field(default_factory=dict)

    def places(self, output: GraphOutput) -> Places:
        """The places of an output; each item is a pair."""
        axes = axes_of(output.name, output.per, self.id2label, token_names(self.preprocessor))
        return Places(describe=self.describe, axes=axes)

    def in_batches(self, output: GraphOutput, batch: int, reverse: bool, reference: str) -> Places:
        """The same if the rows of all items were computed `batch` at a time; tokens are counted within their row."""
        counts = [len(item.rows) for item in self.items]

        def row(number: int, index: Sequence[int]) -> int:
            place = sum(counts[:number]) + self._window(output.per, number, index)[0]
            return (sum(counts) - 1 - place if reverse else place) % batch

        def told(number: int, index: Sequence[int]) -> Sequence[int]:
            before = self._window(output.per, number, index)[1]
            return (index[0] - before, *index[1:]) if index else index

        return replace(self.places(output), row=row, told=told, reference=reference)

    def longest(self) -> tuple[int, object]:
        """The number of the item with the longest row in tokens, and this row."""
        rows = [(number, row) for number, item in enumerate(self.items) for row in item.rows]
        return max(rows, key=lambda pair: self.preprocessor.length(pair[1]))

    def _window(self, per: str, number: int, index: Sequence[int]) -> tuple[int, int]:
        """The index of the item's row (window) that holds a value, and where this row starts on the first axis."""
        rows = self.items[number].rows
        if len(rows) == 1 or not index or per == "row":
            return 0, 0
        starts = np.cumsum([0, *(self.preprocessor.extent(row, per) or 0 for row in rows)])
        window = int(np.searchsorted(starts, index[0], side="right")) - 1
        return window, int(starts[window])


def places_of_calibration(calibration: Calibration, places: Places, preprocessor: Preprocessor) -> Places:
    """The same axes; each row of the calibration's calls is a pair, described by the text of its tokens."""
    rows = [(feeds, row) for feeds in calibration.feeds for row in range(len(next(iter(feeds.values()))))]

    def describe(number: int) -> str:
        feeds, row = rows[number]
        if "input_ids" not in feeds:
            return described("calibration row", number, ())
        ids = feeds["input_ids"][row]
        ids = ids[feeds["attention_mask"][row] != 0] if "attention_mask" in feeds else ids
        return described("calibration row", number, as_text_preprocessor(preprocessor).tokenizer.decode(ids.tolist()))

    return replace(places, describe=describe, row=lambda number, index: rows[number][1])


def places_of_tokens(inputs: Inputs, preprocessor: Preprocessor, counts: str) -> Places:
    """The places of a decoder: each text is a pair; its axes are what `counts` names, and the vocabulary."""
    axes = (Axis(counts), Axis("token id", token_names(preprocessor)))
    return Places(describe=partial(describe_input, inputs), axes=axes)


def token_names(preprocessor: Preprocessor) -> Callable[[int], str | None]:
    """A function that returns the text of a token, quoted; None if there is no tokenizer or no such token."""
    tokenizer = getattr(preprocessor, "tokenizer", None)
    if tokenizer is None:
        return lambda index: None
    return lambda index: quoted(tokenizer.decode([index], skip_special_tokens=False)) or None
