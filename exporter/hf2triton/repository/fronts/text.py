"""Texts become token ids, and groups of rows become the graph's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer


class TextEncoder:
    """A tokenizer with a limit. `inputs`: the graph's inputs, in any order. Pads on the right, to multiples of `round_to`,
    and cuts on `truncation_side`. Without `type_ids` both texts of a pair have the type 0, as a model was trained that
    never was given any."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        pad_token_id: int,
        inputs: Sequence[str],
        round_to: int = 1,
        truncation_side: str = "right",
        type_ids: bool = True,
    ) -> None:
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._side = truncation_side
        self.max_length = max_length
        self._cut()
        self._round_to = round_to
        columns = {
            "input_ids": (lambda row: row.ids, pad_token_id),
            "token_type_ids": (lambda row: row.type_ids if type_ids else 0, 0),
            "attention_mask": (lambda row: row.attention_mask, 0),
        }
        self._columns: Mapping[str, Any] = {name: columns[name] for name in inputs}

    def encode(self, texts: Sequence[str | tuple[str, str]], with_offsets: bool = False) -> list[Encoding]:
        """Encodings of texts and pairs with special tokens, cut to the limit; offsets count characters and cost extra."""
        encode = self._tokenizer.encode_batch if with_offsets else self._tokenizer.encode_batch_fast
        return encode(list(texts))

    def truncated(self, row: Encoding, text: str | tuple[str, str]) -> int:
        """The number of tokens that the limit cut off a row, which was made of `text`."""
        if not row.overflowing:
            return 0
        self._tokenizer.no_truncation()
        try:
            [whole] = self._tokenizer.encode_batch_fast([text])
        finally:
            self._cut()
        return len(whole) - len(row)

    def _cut(self) -> None:
        self._tokenizer.enable_truncation(self.max_length, direction=self._side)

    def feeds(self, rows: Sequence[Encoding], extra: int = 0) -> dict[str, np.ndarray]:
        """The graph's inputs, int64 `[len(rows), longest]`; `extra` adds columns of padding, up to the limit."""
        longest = max(len(row) for row in rows) + extra
        longest = min(-(-longest // self._round_to) * self._round_to, self.max_length)
        feeds = {}
        for name, (values_of, padding) in self._columns.items():
            array = np.full((len(rows), longest), padding, dtype=np.int64)
            for index, row in enumerate(rows):
                array[index, : len(row)] = values_of(row)
            feeds[name] = array
        return feeds
