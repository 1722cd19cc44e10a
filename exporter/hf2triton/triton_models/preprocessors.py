"""Turns what callers send into rows of the graph, and the graph's outputs into answers: one class for each kind of frontend.

An item is one question: a text, a pair, a question with its context, an image. It has one row of the graph, or several (the
windows of a long context). Graph outputs come back by row, cut to the row's own tokens.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .embedding_preprocessors import SentencePreprocessor, SparseTextPreprocessor
from .inputs import check_size
from .preprocessor import Item, Outputs, Preprocessor
from .text_preprocessor import TextPreprocessor, strings, whole


class PairPreprocessor(TextPreprocessor):
    """A query (`text`) and a document (`text_pair`): one row."""

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "text_pair": True}


class _ParameterPreprocessor(TextPreprocessor):
    """Items that are read individually, each with its own parameters (the text of a JSON object)."""

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        check_size(arrays.values())
        columns = [self._texts(name, arrays) for name, required in self.inputs.items() if required]
        parameters = self._texts("parameters", arrays) if "parameters" in arrays else ["{}"] * len(columns[0])
        return list(zip(*columns, parameters, strict=True))

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        return [_or_error(self.item, value) for value in values]

    @abstractmethod
    def item(self, value: Any) -> Item:
        """The item of one of `values`. Raises ValueError."""


class QuestionPreprocessor(_ParameterPreprocessor):
    """A question (`text`) and its context (`text_pair`): one row for each window of the context."""

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "text_pair": True, "parameters": False}
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"answers": ("span_logits",)}

    def __init__(self, settings: Mapping[str, Any], definition: str) -> None:
        super().__init__(settings, definition)
        from .question_answering import QuestionEncoder, QuestionParameters

        self._parse = QuestionParameters.parse
        self._logic = QuestionEncoder(
            self.tokenizer,
            settings["max_length"],
            settings["cls_token_id"],
            truncation_side=settings["truncation_side"],
        )

    def item(self, value: tuple[str, str, str]) -> Item:
        question, context, parameters = value
        windows = self._logic.windows(question, context, self._parse(parameters))
        return Item(windows.rows, windows)

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        def answers(item: Item, outputs: Outputs) -> NDArray[Any]:
            return strings([json.dumps(self._logic.answers(item.about, outputs["span_logits"]), ensure_ascii=False)])

        return {"num_tokens": super().answers()["num_tokens"], "answers": answers}


#: How many tokens a mask token counts as in planning. Its logits have one number for each entry of the vocabulary, and the tokens
#: of a call are limited because of their memory.
_MASK_TOKENS = 16
#: The most bytes of a text's logits, float32 `[masks, vocabulary]`, that callers may ask for, and how many masks are always
#: allowed.
MAX_LOGITS_BYTES, _FEW_MASKS = 1 << 22, 16


class MaskedTextPreprocessor(_ParameterPreprocessor):
    """A text with mask tokens: one row, with logits only for its mask tokens."""

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "parameters": False}
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"answers": ("logits",)}

    def __init__(self, settings: Mapping[str, Any], definition: str) -> None:
        super().__init__(settings, definition)
        from .fill_mask import FillMaskEncoder, FillMaskParameters

        self._parse = FillMaskParameters.parse
        self._logic = FillMaskEncoder(
            self.tokenizer,
            settings["mask_token"],
            settings["pad_token_id"],
            settings["clean_up"],
            settings["truncation_side"],
        )

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        items = super().items(values, wanted)
        return [self._checked(item) for item in items] if "logits" in wanted else items

    def _checked(self, item: Item | ValueError) -> Item | ValueError:
        """An item whose logits are requested, or why they are refused."""
        most = max(_FEW_MASKS, MAX_LOGITS_BYTES // (4 * self.tokenizer.get_vocab_size()))
        masks = 0 if isinstance(item, ValueError) else len(item.rows[0].positions)
        if masks <= most:
            return item
        return ValueError(
            f"the logits of {masks:,} mask tokens are too many; at most those of {most:,} are given for a text"
        )

    def item(self, value: tuple[str, str]) -> Item:
        text, parameters = value
        [encoding] = self.encoder.encode([text])
        if isinstance(encoding, ValueError):
            raise encoding
        return Item([self._logic.row(encoding, self._parse(parameters))], text)

    def length(self, row: Any) -> int:
        return len(row) + _MASK_TOKENS * len(row.positions)

    def extent(self, row: Any, per: str) -> int | None:
        return {"row": None, "token": len(row), "mask": len(row.positions)}[per]

    def reduced(self, row: Any, outputs: Mapping[str, NDArray[Any]], wanted: Collection[str]) -> Mapping[str, Any]:
        """Keeps only the likeliest tokens, unless logits are requested: the logits of a full batch of masks would be
        gigabytes."""
        kept: dict[str, Any] = dict(outputs) if "logits" in wanted else {}
        if "answers" in wanted:
            kept["likeliest"] = self._logic.likeliest(row, outputs["logits"])
        return kept

    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        positions = np.zeros((len(rows), max(len(row.positions) for row in rows)), dtype=np.int64)
        for index, row in enumerate(rows):
            positions[index, : len(row.positions)] = row.positions
        feeds = self.encoder.feeds([row.encoding for row in rows], extra)
        return {**feeds, "mask_positions": positions}

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        def answers(item: Item, outputs: Outputs) -> NDArray[Any]:
            values = self._logic.answers(item.rows[0], outputs["likeliest"][0])
            return strings([json.dumps(values, ensure_ascii=False)])

        return {
            "num_tokens": super().answers()["num_tokens"],
            "num_truncated_tokens": lambda item, _: whole(self.encoder.truncated(item.rows[0].encoding, item.about)),
            "num_masks": lambda item, _: whole(len(item.rows[0].positions)),
            "answers": answers,
        }


class ImagePreprocessor(Preprocessor):
    """An encoded image: one row, always of the same size."""

    inputs: ClassVar[Mapping[str, bool]] = {"image": True}

    def __init__(self, settings: Mapping[str, Any], definition: str | None) -> None:
        from .images import ImageEncoder

        self._encoder = ImageEncoder(
            settings["spec"], settings["max_bytes"], settings["max_pixels"], len(os.sched_getaffinity(0))
        )
        self._tokens: int = settings["tokens"]

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        return list(arrays["image"].ravel())

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        rows = self._encoder.encode(values)
        return [row if isinstance(row, ValueError) else Item([row]) for row in rows]

    def length(self, row: Any) -> int:
        return self._tokens

    def extent(self, row: Any, per: str) -> int | None:
        return {"row": None}[per]

    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        return self._encoder.feeds(rows)


PREPROCESSORS: Mapping[str, type[Preprocessor]] = {
    "text": TextPreprocessor,
    "pair": PairPreprocessor,
    "sentence": SentencePreprocessor,
    "sparse-text": SparseTextPreprocessor,
    "question": QuestionPreprocessor,
    "masked-text": MaskedTextPreprocessor,
    "image": ImagePreprocessor,
}


def make_preprocessor(settings: Mapping[str, Any], definition: str | None) -> Preprocessor:
    """Makes the preprocessor that an entry's settings ask for. `definition`: the text of its tokenizer.json, if it has one."""
    return _constructor(settings["kind"])(settings, definition)


def _constructor(kind: str) -> Callable[..., Preprocessor]:
    return PREPROCESSORS[kind]


def _or_error(function: Callable[[Any], Item], value: Any) -> Item | ValueError:
    try:
        return function(value)
    except ValueError as error:
        return error
