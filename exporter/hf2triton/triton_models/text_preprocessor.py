"""The preprocessor of texts and pairs of texts, which others extend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .inputs import check_size, decoded
from .outgoing import encoded
from .preprocessor import Item, Outputs, Preprocessor


class TextPreprocessor(Preprocessor):
    """A text, or two if the caller sends a pair: one row."""

    inputs: ClassVar[Mapping[str, bool]] = {"text": True, "text_pair": False}

    def __init__(self, settings: Mapping[str, Any], definition: str) -> None:
        from tokenizers import Tokenizer

        from .text import TextEncoder

        self.tokenizer = Tokenizer.from_str(definition)
        self.encoder = TextEncoder(
            self.tokenizer,
            settings["max_length"],
            settings["pad_token_id"],
            settings["inputs"],
            settings["round_to"],
            settings["truncation_side"],
            settings["type_ids"],
            settings.get("fills"),
        )
        self.max_bytes = settings["max_bytes"]

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        check_size(arrays.values())
        texts = self._texts("text", arrays)
        return list(zip(texts, self._texts("text_pair", arrays), strict=True)) if "text_pair" in arrays else texts

    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        # the quicker encoding omits both
        rows = self.encoder.encode(values, with_offsets="offsets" in wanted or "tokens" in wanted)
        return [_item(row, value) for row, value in zip(rows, values, strict=True)]

    def length(self, row: Any) -> int:
        return self.encoder.max_length if self.encoder.fills else len(row)

    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        return self.encoder.feeds(rows, extra)

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        return {
            "num_tokens": lambda item, _: whole(sum(len(row) for row in item.rows)),
            "num_truncated_tokens": lambda item, _: whole(self.encoder.truncated(item.rows[0], item.about)),
            "tokens": lambda item, _: self.vocabulary[item.rows[0].ids],
            "offsets": lambda item, _: np.array(item.rows[0].offsets, dtype=np.int32),
            "special_tokens_mask": lambda item, _: np.array(item.rows[0].special_tokens_mask, dtype=np.int32),
        }

    @cached_property
    def vocabulary(self) -> NDArray[Any]:
        """The token of each id. `Encoding.tokens` spells them as in the text instead: an added token with the spaces that it
        absorbs, or before it was normalised."""
        ids = range(max(self.tokenizer.get_vocab().values()) + 1)
        return strings([self.tokenizer.id_to_token(index) or "" for index in ids])

    def _texts(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
        """The texts of one input. Raises ValueError."""
        values = enumerate(arrays[name].ravel())
        return [decoded(f"{name} {index}", value, self.max_bytes) for index, value in values]


def _item(row: Any, value: Any) -> Item | ValueError:
    """An item with one row. Tokenizers without special tokens may return no token, which neither graphs nor PyTorch models
    accept."""
    if isinstance(row, ValueError):
        return row
    return Item([row], value) if len(row) else ValueError("the text has no tokens")


def whole(value: int) -> NDArray[Any]:
    return np.array([value], dtype=np.int32)


def strings(values: Sequence[str]) -> NDArray[Any]:
    return np.array([encoded(value) for value in values], dtype=np.object_)
