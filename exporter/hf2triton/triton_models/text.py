"""Turns texts into token ids, and groups of rows into the graph's inputs."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .long_texts import LongTexts, Tokens

#: The most characters of a row that the tokenizer itself cuts to the limit. It keeps what it cuts off, and for a pair, each part
#: of one text with each part of the other. So a pair may also only have this many characters per token of the limit.
_SHORT, _PER_TOKEN = 2048, 4
#: How many rows the tokenizer reads at the same time.
_AT_ONCE = 64
#: The texts of pairs are tokenized one by one if at most this share of them is different: joining a pair takes about as long as
#: tokenizing four words.
_DIFFERENT = 0.75


@dataclass(frozen=True)
class CutRow:
    """A row of a long text or pair, and how many tokens the limit cut off. Otherwise like an Encoding."""

    encoding: Encoding
    truncated: int

    def __len__(self) -> int:
        return len(self.encoding)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoding, name)

    @property
    def overflowing(self) -> bool:
        """Whether anything was cut off; an Encoding holds it here."""
        return self.truncated > 0


Row = Encoding | CutRow


class TextEncoder:
    """A tokenizer with a limit. `inputs`: the graph's inputs, in any order. Pads on the right, to multiples of `round_to`, and
    cuts on `truncation_side`. Without `type_ids` both texts of a pair have the type 0, as for a model that was trained without
    types. `fills`: all rows are padded to the limit, on this side ("left" or "right"), for a model that attends to padding."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        pad_token_id: int,
        inputs: Sequence[str],
        round_to: int = 1,
        truncation_side: str = "right",
        type_ids: bool = True,
        fills: str | None = None,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, direction=truncation_side)
        self._tokenizer = tokenizer
        self._long = LongTexts(tokenizer)
        self._joins = self._can_join()
        self._from_end = truncation_side == "left"
        self.max_length, self.fills = max_length, fills
        self._round_to = round_to
        columns = {
            "input_ids": (lambda row: row.ids, pad_token_id),
            "token_type_ids": (lambda row: row.type_ids if type_ids else 0, 0),
            "attention_mask": (lambda row: row.attention_mask, 0),
        }
        self._columns: Mapping[str, Any] = {name: columns[name] for name in inputs}

    def encode(self, texts: Sequence[str | tuple[str, str]], with_offsets: bool = False) -> list[Row | ValueError]:
        """Returns rows of texts and pairs with special tokens, cut to the limit; an error for a text that takes too much memory.
        Offsets count characters and cost extra."""
        encode = self._tokenizer.encode_batch if with_offsets else self._tokenizer.encode_batch_fast
        long = [index for index, text in enumerate(texts) if self._is_long(text)]
        if not long and len(texts) <= _AT_ONCE:
            return [*self._encoded(texts, encode)]
        rows: list[Any] = [None] * len(texts)
        short = sorted(set(range(len(texts))).difference(long))
        for start in range(0, len(short), _AT_ONCE):
            own = short[start : start + _AT_ONCE]
            for index, row in zip(own, self._encoded([texts[index] for index in own], encode), strict=True):
                rows[index] = row
        for index, cut in zip(long, self._cut([texts[index] for index in long], with_offsets), strict=True):
            rows[index] = cut
        return rows

    def _encoded(self, texts: Sequence[str | tuple[str, str]], encode: Callable[..., list[Encoding]]) -> list[Encoding]:
        """Rows of short texts. A query with many documents, or texts with many hypotheses, are tokenized once each."""
        pairs = [text for text in texts if not isinstance(text, str)]
        different = list(dict.fromkeys(text for pair in pairs for text in pair))
        if len(pairs) < len(texts) or not self._joins or len(different) > _DIFFERENT * 2 * len(pairs):
            return encode(list(texts))
        with self._long.alone():
            read = dict(zip(different, encode(different, add_special_tokens=False), strict=True))
        return [self._tokenizer.post_process(read[first], read[second]) for first, second in pairs]

    def _can_join(self) -> bool:
        """Whether a pair is the same if its texts are tokenized one by one. It is not without a post-processor, which sets the
        types of the second text."""
        texts = ("a", "b")
        try:
            with self._long.alone():
                first, second = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
            rows = (self._tokenizer.encode(*texts), self._tokenizer.post_process(first, second))
        except Exception:  # a vocabulary without these letters; tokenizers raises plain Exception
            return False
        pair, joined = ((row.ids, row.type_ids, row.special_tokens_mask, row.offsets) for row in rows)
        return pair == joined

    def truncated(self, row: Row, text: str | tuple[str, str]) -> int:
        """How many tokens the limit cut off from a row that was made from `text`."""
        if isinstance(row, CutRow):
            return row.truncated
        if not row.overflowing:
            return 0
        [whole] = self._cut([text], False)
        if isinstance(whole, ValueError):
            raise whole
        return whole.truncated

    def _is_long(self, text: str | tuple[str, str]) -> bool:
        if isinstance(text, str):
            return _size(text) > _SHORT
        return _size(text[0]) + _size(text[1]) > min(_SHORT, _PER_TOKEN * self.max_length)

    def _cut(self, rows: Sequence[str | tuple[str, str]], with_offsets: bool) -> list[CutRow | ValueError]:
        """Rows that are cut here instead of by the tokenizer, so that what is cut off is counted, not kept."""
        own = [(row,) if isinstance(row, str) else row for row in rows]
        different = list(dict.fromkeys(text for row in own for text in row))
        tokens = self._long.read(different, self.max_length, self._from_end, with_offsets)
        read = dict(zip(different, tokens, strict=True))
        return [self._row([read[text] for text in row]) for row in own]

    def _row(self, texts: Sequence[Tokens | ValueError]) -> CutRow | ValueError:
        read: list[Tokens] = []
        for text in texts:
            if isinstance(text, ValueError):
                return text
            read.append(text)
        room = self.max_length - self._tokenizer.num_special_tokens_to_add(len(texts) == 2)
        counts = [tokens.count for tokens in read]
        kept = _longest_first(counts, room)
        first, *second = (tokens.encoding(length) for tokens, length in zip(read, kept, strict=True))
        row = self._tokenizer.post_process(first, second[0] if second else None)
        return CutRow(row, sum(counts) - sum(kept))

    def feeds(self, rows: Sequence[Row], extra: int = 0) -> dict[str, NDArray[Any]]:
        """The graph's inputs, int64 `[len(rows), longest]`; `extra` adds columns of padding, up to the limit."""
        longest = max(len(row) for row in rows) + extra
        longest = min(-(-longest // self._round_to) * self._round_to, self.max_length)
        longest = self.max_length if self.fills else longest
        feeds = {}
        for name, (values_of, padding) in self._columns.items():
            array = np.full((len(rows), longest), padding, dtype=np.int64)
            for index, row in enumerate(rows):
                start = longest - len(row) if self.fills == "left" else 0
                array[index, start : start + len(row)] = values_of(row)
            feeds[name] = array
        return feeds


def _size(text: str) -> int:
    """The characters of a text; normalizers can turn one into 18."""
    return len(text) if text.isascii() or len(text) > _SHORT else len(unicodedata.normalize("NFKC", text))


def _longest_first(counts: Sequence[int], room: int) -> list[int]:
    """How many tokens of each text remain, as tokenizers cuts them (`truncate_encodings` in src/utils/truncation.rs)."""
    if sum(counts) <= room:
        return list(counts)
    if len(counts) == 1:
        return [room]
    shorter, longer = min(counts), max(counts)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return [longer, shorter] if counts[0] > counts[1] else [shorter, longer]
