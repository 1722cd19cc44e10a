"""Removes the spaces that word tokenizers leave before punctuation from decoded text, as transformers does.

Follows `clean_up_tokenization` of `PreTrainedTokenizerBase` in transformers 5 (src/transformers/tokenization_utils_base.py).
"""

from __future__ import annotations

#: The replacements, in this order, for tokenizers whose `clean_up_tokenization_spaces` is set.
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
#: A replaced string may continue after these characters. No replacement spans the place after any other character.
_INSIDE = " 'nvr"


def cleaned(text: str) -> str:
    """Returns a whole text, cleaned up."""
    for spaced, clean in _REPLACED:
        text = text.replace(spaced, clean)
    return text


class CleanUp:
    """Cleans up a text piece by piece; the results join to the cleaned whole. An end that later text may change is held back."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """Returns the text that is certain after this piece."""
        text = self._held + piece
        certain = len(text.rstrip(_INSIDE))
        self._held = text[certain:]
        return cleaned(text[:certain])

    def finish(self) -> str:
        """Returns the rest, after the last piece."""
        rest, self._held = cleaned(self._held), ""
        return rest
