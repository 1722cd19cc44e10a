"""From tokens to text, piece by piece: only whole characters, and an end at a stop string."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from ..clean_up import CleanUp

#: What decoders return for bytes that are not (or not yet) a character.
_REPLACEMENT = "\ufffd"
#: A character has at most 4 bytes and a token at least 1, so an incomplete character began at most 3 tokens ago.
_LONGEST_CHARACTER = 4


class Detokenizer:
    """The text of one sequence's new tokens.

    Joined, the pieces that `push` and `finish` return are `tokenizer.decode` of all tokens, or its part before the stop string. A
    character whose bytes span several tokens (emoji, CJK) comes with the last of them; bytes that never become a character come
    as U+FFFD, as the tokenizer decodes them. Each token costs the same, however many came before, because only the last few
    tokens are decoded again.

    `prompt_ids`: a stop string may begin in the prompt, as in transformers, but must end in the new text.
    `stop`: the texts that end the stream, none of them empty. Text that may begin a stop string is held back until that is ruled
    out. If several match, the first to be complete counts; among equals, the longest.
    `keep_stop`: also return the stop string and the rest of its last token, as in transformers. Then nothing is held back.
    `clean_up`: clean up the text as transformers does for the tokenizer, after looking for stop strings.
    `stopped`: the stop string that was found, or None.

    Raises ValueError for tokenizers with byte fallback, whose text can change after it was returned: a second incomplete
    character makes them spell the first one with U+FFFD.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int] = (),
        skip_special_tokens: bool = True,
        stop: Sequence[str] = (),
        keep_stop: bool = False,
        clean_up: bool = False,
    ) -> None:
        if _has_byte_fallback(tokenizer):
            raise ValueError("the tokenizer decodes with byte fallback, whose text cannot be given piece by piece")
        self.stopped: str | None = None
        self._clean_up = CleanUp() if clean_up else None
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._special = frozenset(
            token
            for token, added in tokenizer.get_added_tokens_decoder().items()
            if added.special and skip_special_tokens
        )
        # the last tokens, and how many characters of their text are final
        self._window: list[int] = []
        self._settled = 0
        self._stop = stop
        self._keep_stop = keep_stop
        # the end of the prompt and text, as far back as a stop string may begin; its last `_held` characters are new and not
        # returned yet
        self._reach = max(map(len, stop), default=1) - 1
        self._held = 0
        self._tail = self._end_of(prompt_ids) if self._reach else ""

    def push(self, token: int) -> str:
        """Returns the new text that is certain after this token; "" if there is none, or after the end."""
        text = self._push(token)
        return text if self._clean_up is None else self._clean_up.push(text)

    def finish(self) -> str:
        """Returns the rest of the text, after the last token."""
        text = self._finish()
        return text if self._clean_up is None else self._clean_up.push(text) + self._clean_up.finish()

    def _push(self, token: int) -> str:
        # a token without text must not push others out of the window
        if self.stopped is not None or token in self._special or self._tokenizer.id_to_token(token) is None:
            return ""
        self._window.append(token)
        text = self._decode(self._window)
        # only the last U+FFFD may still become a character: decoders spell the beginning of a character with one U+FFFD
        pending = _REPLACEMENT if text.endswith(_REPLACEMENT) else ""
        new = text[self._settled : len(text) - len(pending)]
        # one token stays even if all text is final, because decoders may treat the first token differently
        self._window = self._window[-(_LONGEST_CHARACTER if pending else 1) :]
        # alone, these tokens may spell the end of an earlier character with U+FFFD; that is final and not returned again
        self._settled = len(self._decode(self._window)) - len(pending)
        return self._give(new, pending)

    def _finish(self) -> str:
        if self.stopped is not None:
            return ""
        rest = self._decode(self._window)[self._settled :]
        self._window, self._settled = [], 0
        given = self._give(rest, "")
        if self.stopped is None and self._held:
            given += self._tail[-self._held :]
            self._held = 0
        return given

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=self._skip_special_tokens)

    def _end_of(self, prompt_ids: Sequence[int]) -> str:
        """The last `_reach` characters of the prompt. A token has at least a quarter of a character."""
        return self._decode(prompt_ids[-(_LONGEST_CHARACTER * self._reach) :])[-self._reach :]

    def _give(self, new: str, pending: str) -> str:
        """Returns the part of the new text that is certain; the rest is held back. `pending`: a U+FFFD that may become a
        character."""
        known = len(self._tail)
        text = self._tail + new
        found = self._first_stop(text, known) if new else None
        first = known - self._held  # of the text not returned yet
        if found is not None:
            begin, self.stopped = found
            return text[first:] + pending if self._keep_stop else text[first : max(begin, first)]
        self._held = 0 if self._keep_stop else min(self._longest_beginning(text), len(text) - first)
        self._tail = text[max(len(text) - max(self._reach, self._held), 0) :]
        return text[first : len(text) - self._held]

    def _first_stop(self, text: str, known: int) -> tuple[int, str] | None:
        """The stop string that is complete first after `known` characters: where it begins, and the string."""
        found = [(text.find(stop, max(known - len(stop) + 1, 0)), stop) for stop in self._stop]
        return min(
            ((begin, stop) for begin, stop in found if begin >= 0),
            key=lambda match: (match[0] + len(match[1]), match[0]),
            default=None,
        )

    def _longest_beginning(self, text: str) -> int:
        """The length of the longest end of the text that begins a stop string."""
        longest = 0
        for stop in self._stop:
            begin = text.find(stop[0], max(len(text) - len(stop) + 1, 0))
            while begin >= 0 and not stop.startswith(text[begin:]):
                begin = text.find(stop[0], begin + 1)
            longest = max(longest, len(text) - begin if begin >= 0 else 0)
        return longest


def _has_byte_fallback(tokenizer: Tokenizer) -> bool:
    """Whether the decoder is or holds a ByteFallback."""
    decoder = json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else {}
    return any(part["type"] == "ByteFallback" for part in (decoder, *decoder.get("decoders", ())) if part)
