"""Joins tokens to text as the decoders of the same names in `tokenizers` do (tokenizers/src/decoders and pre_tokenizers)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any


@dataclass(frozen=True)
class TokenDecoder(ABC):
    """Joins tokens. Its fields are the keys of the decoder in a tokenizer.json that matter."""

    @abstractmethod
    def decode(self, tokens: Sequence[str]) -> str:
        """The text of some tokens."""


@dataclass(frozen=True)
class WordPieceDecoder(TokenDecoder):
    """For tokens that begin with `prefix` if they continue a word."""

    prefix: str = "##"
    cleanup: bool = True

    _CLEANUP = (
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    )

    def decode(self, tokens: Sequence[str]) -> str:
        return "".join(self._piece(index, token) for index, token in enumerate(tokens))

    def _piece(self, index: int, token: str) -> str:
        if index:
            token = token[len(self.prefix) :] if token.startswith(self.prefix) else f" {token}"
        if self.cleanup:
            for dirty, clean in self._CLEANUP:
                token = token.replace(dirty, clean)
        return token


@dataclass(frozen=True)
class ByteLevelDecoder(TokenDecoder):
    """For tokens in which each character stands for a byte. A token with any other character stands for itself."""

    def decode(self, tokens: Sequence[str]) -> str:
        return b"".join(map(self._bytes, tokens)).decode("utf-8", "replace")

    @staticmethod
    def _bytes(token: str) -> bytes:
        known = _byte_characters()
        return bytes(map(known.__getitem__, token)) if known.keys() >= set(token) else token.encode()


@cache
def _byte_characters() -> dict[str, int]:
    """Character -> the byte that it stands for: itself if it can be seen, otherwise the next character from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {**{chr(byte): byte for byte in seen}, **{chr(256 + index): byte for index, byte in enumerate(unseen)}}


@dataclass(frozen=True)
class MetaspaceDecoder(TokenDecoder):
    """For tokens in which `replacement` stands for a space. Those of the first token are dropped, unless the `prepend_scheme` is
    "never"."""

    replacement: str = "▁"
    prepend_scheme: str = "always"

    def decode(self, tokens: Sequence[str]) -> str:
        first = " " if self.prepend_scheme == "never" else ""
        return "".join(token.replace(self.replacement, " " if index else first) for index, token in enumerate(tokens))


@dataclass(frozen=True)
class SpaceDecoder(TokenDecoder):
    """For tokenizers without a decoder, whose tokens transformers joins with spaces."""

    def decode(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


#: Type of the decoder in a tokenizer.json -> its class here.
DECODERS: Mapping[str | None, type[TokenDecoder]] = {
    "WordPiece": WordPieceDecoder,
    "ByteLevel": ByteLevelDecoder,
    "Metaspace": MetaspaceDecoder,
    None: SpaceDecoder,
}
#: The type in settings that state none.
_DEFAULT = "WordPiece"


def decoder_settings(decoder: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What clients need of the decoder in a tokenizer.json (None: there is none), for `decoder_of`; None if it is not in
    `DECODERS`."""
    kind = None if decoder is None else decoder["type"]
    if kind not in DECODERS:
        return None
    settings = {own.name: (decoder or {})[own.name] for own in fields(DECODERS[kind])}
    return settings if kind == _DEFAULT else {"type": kind, **settings}


def decoder_of(settings: Mapping[str, Any]) -> TokenDecoder:
    """The decoder of an entry's settings."""
    kind = settings.get("type", _DEFAULT)
    return DECODERS[kind](**{name: value for name, value in settings.items() if name != "type"})
