"""Decoded text without the spaces that tokenizers of words leave before punctuation, as transformers cleans it up.

Follows `clean_up_tokenization` of `PreTrainedTokenizerBase` in transformers 5 (src/transformers/tokenization_utils_base.py).
"""

from __future__ import annotations

#: What is replaced where a tokenizer's `clean_up_tokenization_spaces` is set, in this order.
_REPLACED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
#: The characters of what is replaced that others may follow there. No replacement spans a place after any other character.
_INSIDE = " 'nvr"


def cleaned(text: str) -> str:
    """A whole text."""
    for spaced, clean in _REPLACED:
        text = text.replace(spaced, clean)
    return text


class CleanUp:
    """A text that comes piece by piece: what is given joins to the cleaned whole. Its end is held back where what follows may
    change it."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """What is certain with this piece."""
        text = self._held + piece
        certain = len(text.rstrip(_INSIDE))
        self._held = text[certain:]
        return cleaned(text[:certain])

    def finish(self) -> str:
        """The rest, after the last piece."""
        rest, self._held = cleaned(self._held), ""
        return rest
