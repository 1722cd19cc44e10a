"""Finds where a text may be cut so that the tokens of its pieces, joined, are those of the whole.

A tokenizer finds added tokens, normalizes the text between them, splits that into words and tokenizes each word alone
(tokenizers: `encode_single_sequence` in src/tokenizer/mod.rs). So a cut at the end of a word changes nothing if no earlier step
looks across it. For the tokenizers in the tables below, this is certain in two places:

- Before white space that follows something else. The normalizers in the table work on one character and the marks after it, or on
  a run of white space, which stays whole. The word before ends there, whatever came before it. The text after begins with the
  white space, so nothing is put before it.
- Between two characters that the pre-tokenizer itself separates, if it decides by these two alone: BertPreTokenizer by
  punctuation, ByteLevel and the pattern of words below by letters, digits and others, except after an apostrophe ('s, 't …).
  Without a normalizer this holds for all characters; with one, for ASCII and Chinese characters, if no mark follows that could
  change the second.

No added token may span a cut. lstrip and rstrip absorb white space, which rstrip would take from the next piece; single_word
looks at both neighbours. Tokenizers and added tokens for which this is not certain have no cuts.

Offsets are those of the whole too, except after a first character that a Precompiled normalizer removes, such as U+200B:
tokenizers counts all that follows one too low, and here only up to the first cut.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

#: Characters of a piece; up to twice as many if a place to cut has to be searched for.
PIECE = 1 << 14
#: The most characters of a piece after normalizing, which can turn one into 18. No text of 1 MiB has more before it.
MAX_NORMALIZED = 1 << 20
#: How many consecutive places are tried before the search continues a piece later.
_TRIES = 64
_ALL_SPACES = " \t\n\r"
_APOSTROPHE = "'"
#: The pattern of words that pre-tokenizers of text towers have, with or without the tokens that it also finds, even if they are
#: not added tokens.
_WORD_TOKENS = ("<|startoftext|>", "<|endoftext|>")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WORD_PATTERNS = (_WORDS, "|".join([*map(re.escape, _WORD_TOKENS), _WORDS]))

Step = Mapping[str, Any]


def _finds_words(step: Step) -> bool:
    return step["pattern"].get("Regex") in _WORD_PATTERNS and step["behavior"] == "Removed" and step["invert"]


def _unknown(step: Step) -> bool:
    return False


#: Normalizers -> whether they leave both sides of a cut unchanged.
_NORMALIZERS: Mapping[str, Callable[[Step], bool]] = {
    **dict.fromkeys(("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"), lambda step: True),
    **dict.fromkeys(("Nmt", "Precompiled"), lambda step: True),
    "Strip": lambda step: not step["strip_left"],
    "Replace": lambda step: step["pattern"] in ({"Regex": r"\s+"}, {"Regex": " {2,}"}),
}
#: What the first pre-tokenizer implies for cuts: the white space before which a word always ends, and whether two characters
#: alone can decide.
_NONE, _BEFORE_SPACES, _EVERYWHERE = ("", False), (_ALL_SPACES, False), (_ALL_SPACES, True)
_BEFORE_A_SPACE = (" ", False)


def _no_cuts(step: Step) -> tuple[str, bool]:
    return _NONE


def _byte_level(step: Step) -> tuple[str, bool]:
    # if a space is put before words, words after another kind of white space get one too
    return (_BEFORE_A_SPACE if step["add_prefix_space"] else _EVERYWHERE) if step["use_regex"] else _NONE


_PRE_TOKENIZERS: Mapping[str, Callable[[Step], tuple[str, bool]]] = {
    "BertPreTokenizer": lambda step: _EVERYWHERE,
    "WhitespaceSplit": lambda step: _BEFORE_SPACES,
    "Whitespace": lambda step: _EVERYWHERE,
    "ByteLevel": _byte_level,
    "Metaspace": lambda step: _BEFORE_A_SPACE if step["split"] else _NONE,
    "Split": lambda step: _EVERYWHERE if _finds_words(step) else _NONE,
}


class Pieces:
    """The pieces of texts for one tokenizer, in its state at construction."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._normalizer, self._pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
        normalizers, pre_tokenizers = _steps(self._normalizer), _steps(self._pre_tokenizer)
        added = tokenizer.get_added_tokens_decoder().values()
        contents = [form for token in added for form in (token.content, self._normalized(token.content))]
        # casefold, because lower() looks at the neighbours of a sigma
        self._contents = "\n".join([*_WORD_TOKENS, *contents]).casefold()
        spaces, self._by_pairs = _NONE
        if (
            pre_tokenizers
            and all(_NORMALIZERS.get(step["type"], _unknown)(step) for step in normalizers)
            and not any(token.rstrip for token in added)
            and not any(character.isspace() for content in contents for character in content)
        ):
            spaces, self._by_pairs = _PRE_TOKENIZERS.get(pre_tokenizers[0]["type"], _no_cuts)(pre_tokenizers[0])
            # further steps see whole words, but may separate two characters of the same word
            alone = len(pre_tokenizers) == 1 or [step["type"] for step in pre_tokenizers] == ["Split", "ByteLevel"]
            self._by_pairs = self._by_pairs and alone and not any(token.single_word for token in added)
        # a single space and a run of them, which normalizers may change
        kept = [space for space in spaces if all(self._words(f"x{space * count}x") > 1 for count in (1, 2))]
        self._spaces = re.compile(rf"(?<!\s)[{re.escape(''.join(kept))}]") if kept else None
        self._ends_a_word = lru_cache(4096)(self._is_solid)
        self._is_cut = lru_cache(4096)(self._separates)

    def __call__(self, text: str) -> Iterator[tuple[int, int]]:
        """Returns where the pieces begin and end. Raises ValueError for a piece that is too long when normalized."""
        start = 0
        while start < len(text):
            stop = self._place(text, start + PIECE) if len(text) - start > 2 * PIECE else len(text)
            self._check(text, start, stop)
            yield start, stop
            start = stop

    def _place(self, text: str, at: int) -> int:
        """The first place to cut from `at` on, or the end."""
        while at < len(text) and (self._spaces or self._by_pairs):
            if self._spaces:
                for found in islice(self._spaces.finditer(text, at, at + PIECE), _TRIES):
                    if self._ends_a_word(text[found.start() - 1]):
                        return found.start()
            if self._by_pairs:
                for place in range(at, min(at + _TRIES, len(text))):
                    if self._is_cut(text[place - 1 : place + 2]):
                        return place
            at += PIECE
        return len(text)

    def _is_solid(self, character: str) -> bool:
        """Whether a character remains after normalizing and is not white space, whatever comes before it. Marks are not solid:
        they may go with their base character, and so may letters that are marks in another form (ﾞ, ำ)."""
        if self._normalizer is None:
            return True
        if not ("!" <= character <= "~" or character.isalnum()):
            return False
        normal = self._normalized(character)
        is_mark = unicodedata.category(unicodedata.normalize("NFKD", character)[0]).startswith("M")
        return bool(normal) and normal == normal.strip() and not is_mark

    def _separates(self, around: str) -> bool:
        """Whether there is a cut after the first of up to three characters."""
        pair = around[:2]
        if (
            any(character.isspace() for character in pair)
            or pair[0] == _APOSTROPHE
            or pair.casefold() in self._contents
        ):
            return False
        if self._normalizer is not None and not all(
            character.isascii() or "一" <= character <= "龥" for character in around
        ):
            return False
        return self._words(pair) == 2

    def _check(self, text: str, start: int, stop: int) -> None:
        if stop - start <= 2 * PIECE or self._normalizer is None:
            return
        length = sum(
            len(self._normalized(text[begin : min(begin + PIECE, stop)])) for begin in range(start, stop, PIECE)
        )
        if length > MAX_NORMALIZED:
            raise ValueError(
                f"a part of the text without spaces has {stop - start:,} characters and {length:,} when it is normalized; at most"
                f" {MAX_NORMALIZED:,} are taken"
            )

    def _words(self, text: str) -> int:
        return len(self._pre_tokenizer.pre_tokenize_str(self._normalized(text)))

    def _normalized(self, text: str) -> str:
        return text if self._normalizer is None else self._normalizer.normalize_str(text)


def _steps(component: Any) -> list[Step]:
    """The steps of a normalizer or a pre-tokenizer, as in tokenizer.json."""
    if component is None:
        return []
    step = json.loads(component.__getstate__())
    inner = step.get("normalizers", step.get("pretokenizers"))
    return [step] if inner is None else inner
