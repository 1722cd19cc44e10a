"""The tokens at one end of long texts, and how many there are in all, without holding all of them in memory at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

from tokenizers import Encoding, Tokenizer

from .memory import trim
from .pieces import PIECE, Pieces

#: How many characters are tokenized at the same time, on up to four cores; each temporarily takes up to 500 bytes.
_AT_ONCE = 4 * PIECE


class Tokens:
    """The tokens of a text, without special ones: their `count`, and the first or last `keep` of them."""

    def __init__(self, keep: int, from_end: bool, with_offsets: bool) -> None:
        self.count = 0
        self._room, self._from_end, self._with_offsets = keep, from_end, with_offsets
        #: the kept ids, tokens and offsets of each piece; a piece that is the whole text is in `_whole` instead
        self._kept: list[tuple[list[Any], ...]] = []
        self._whole: Encoding | None = None

    def add(self, piece: Encoding, start: int, whole: bool) -> None:
        """Adds the tokens of the next piece, which begins at the character `start`. `whole`: this is the only piece."""
        self.count += len(piece)
        if whole and len(piece) <= self._room:
            self._whole = piece
        elif self._room:
            self._kept.append(self._end_of(piece, min(self._room, len(piece)), start))
            self._room -= len(self._kept[-1][0])

    def encoding(self, length: int) -> Encoding:
        """The first or last `length` kept tokens, as the tokenizer returns them before it adds special ones."""
        if self._whole is not None:
            return self._whole if length == self.count else _encoding(*self._end_of(self._whole, length, 0))
        pieces = self._kept[::-1] if self._from_end else self._kept
        columns = (list(chain(*column)) for column in zip(*pieces, strict=True)) if pieces else ([], [], [])
        return _encoding(*(column[self._end(len(column), length)] for column in columns))

    def _end_of(self, piece: Encoding, length: int, start: int) -> tuple[list[Any], ...]:
        own = self._end(len(piece), length)
        if not self._with_offsets:
            return piece.ids[own], [""] * length, [(0, 0)] * length
        # individually, because `piece.offsets` would make a tuple for each token of the piece
        places = (piece.token_to_chars(index) for index in range(own.start, own.stop))
        offsets = [(place[0] + start, place[1] + start) for place in places if place]  # each token has a place
        return piece.ids[own], piece.tokens[own], offsets

    def _end(self, whole: int, length: int) -> slice:
        return slice(whole - length, whole) if self._from_end else slice(0, length)


def _encoding(ids: list[int], tokens: list[str], offsets: list[tuple[int, int]]) -> Encoding:
    """Makes an Encoding the way unpickling does, because there is no other way."""
    encoding, length = Encoding(), len(ids)
    state = {
        "ids": ids,
        "type_ids": [0] * length,
        "tokens": tokens,
        "words": [None] * length,
        "offsets": offsets,
        "special_tokens_mask": [0] * length,
        "attention_mask": [1] * length,
        "overflowing": [],
        "sequence_ranges": {},
    }
    encoding.__setstate__(json.dumps(state).encode())
    return encoding


class LongTexts:
    """Reads texts with a tokenizer, whose normalizer and pre-tokenizer must not change after the first text. Not thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def read(
        self, texts: Sequence[str], keep: int, from_end: bool = False, with_offsets: bool = False
    ) -> list[Tokens | ValueError]:
        """Returns the tokens of each text, or why it cannot be read. Offsets count characters and cost extra."""
        results: list[Tokens | ValueError] = [Tokens(keep, from_end, with_offsets) for _ in texts]
        with self.alone():
            self._add(texts, results, from_end, with_offsets)
        if sum(map(len, texts)) > _AT_ONCE:
            trim()  # the graph needs memory next, and does not always reuse what the tokenizer freed
        return results

    def _add(self, texts: Sequence[str], results: list[Any], from_end: bool, with_offsets: bool) -> None:
        """Adds the tokens of all pieces to the results."""
        encode = self._tokenizer.encode_batch if with_offsets else self._tokenizer.encode_batch_fast
        for group in _groups(self._jobs(texts, results, from_end)):
            encodings = encode([texts[index][start:stop] for index, start, stop in group], add_special_tokens=False)
            for (index, start, stop), encoding in zip(group, encodings, strict=True):
                results[index].add(encoding, start, whole=stop - start == len(texts[index]))

    def _jobs(self, texts: Sequence[str], results: list[Any], from_end: bool) -> Iterator[tuple[int, int, int]]:
        """The pieces: the index of the text, and where the piece begins and ends in it."""
        for index, text in enumerate(texts):
            try:
                pieces = list(self._pieces(text))
            except ValueError as error:
                results[index] = error
                continue
            yield from ((index, start, stop) for start, stop in (reversed(pieces) if from_end else pieces))

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self._tokenizer)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Turns off the tokenizer's post-processing and truncation within the block."""
        processor, truncation = self._tokenizer.post_processor, self._tokenizer.truncation
        self._tokenizer.post_processor = None
        self._tokenizer.no_truncation()
        try:
            yield
        finally:
            self._tokenizer.post_processor = processor
            if truncation is not None:
                self._tokenizer.enable_truncation(**truncation)


def _groups(jobs: Iterator[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Groups of pieces that are tokenized at the same time."""
    group: list[tuple[int, int, int]] = []
    size = 0
    for job in jobs:
        length = job[2] - job[1]
        if group and size + length > _AT_ONCE:
            yield group
            group, size = [], 0
        group.append(job)
        size += length
    if group:
        yield group
