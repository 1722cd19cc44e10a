"""The prompts before sentences, as sentence-transformers applies them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, normalizers

from .parameters import Check, parse_parameters
from .text import Row, TextEncoder

#: The most characters of a prompt sent by a caller.
MAX_PROMPT_LENGTH = 1 << 15
#: How many prompts' lengths are remembered.
_REMEMBERED = 256
#: The parameters that choose a prompt.
CHECKS: Mapping[str, Check] = {
    "prompt_name": ("a string", lambda value: isinstance(value, str)),
    "prompt": (
        f"a string of up to {MAX_PROMPT_LENGTH:,} characters",
        lambda value: isinstance(value, str) and len(value) <= MAX_PROMPT_LENGTH,
    ),
}


@dataclass(frozen=True)
class SentenceRow:
    """A row of the graph. `skipped`: how many of its first tokens do not count in the embedding."""

    encoding: Row
    skipped: int

    def __len__(self) -> int:
        return len(self.encoding)


class Prompts:
    """The prompts of a model by name; `default` names the prompt for callers that ask for none."""

    def __init__(
        self, encoder: TextEncoder, prompts: Mapping[str, str], default: str | None, special_ids: Collection[int]
    ) -> None:
        self._encoder = encoder
        self._prompts = prompts
        self._default = "" if default is None else prompts[default]
        self._special_ids = frozenset(special_ids)
        self.length = lru_cache(_REMEMBERED)(self._length)

    def of(self, parameters: str) -> str:
        """The prompt that a JSON object, given as text, asks for: by `prompt`, or else by `prompt_name`. Raises ValueError."""
        return self.chosen(parse_parameters(parameters, CHECKS))

    def chosen(self, given: Mapping[str, Any]) -> str:
        """The prompt that checked parameters ask for. Raises ValueError."""
        if "prompt" in given:
            return str(given["prompt"])
        name = given.get("prompt_name")
        if name is None:
            return self._default
        if name not in self._prompts:
            raise ValueError(f"there is no prompt_name {name[:80]!r}; known are {', '.join(self._prompts)}")
        return self._prompts[name]

    def _length(self, prompt: str) -> int:
        """How many tokens a prompt alone has, with special tokens but without a special token at its end."""
        if not prompt:
            return 0
        [encoding] = self._encoder.encode([prompt])
        if isinstance(encoding, ValueError):
            raise encoding
        return len(encoding) - (encoding.ids[-1] in self._special_ids)


def lower_cased(tokenizer: Tokenizer) -> None:
    """Makes a tokenizer lower-case texts before everything else."""
    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])
