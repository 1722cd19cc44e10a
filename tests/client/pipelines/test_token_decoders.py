"""Tokens are joined as tokenizers itself joins them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hf2triton_client.pipelines.token_decoders import decoder_of, decoder_settings

WORDS = ["do", "##n", "'", "t", ".", "?", "!", ",", "n't", "'s", "a ' b", "not", "##ly", "é"]
#: Bytes as characters, also parts of characters, and text that was decoded before.
BYTES = [*"aĠĊÃ©â¬", "Ġdo", "Ãł", "ðŁĺ", "Ģ", "íł", " naïve", "naïve", "東", "\x00", "", "<mask>", "\n"]
SPACED = ["▁", "▁▁", "▁do", "do", "n▁t", " a", "", "<mask>", "東"]
DECODERS = {
    "WordPiece": (decoders.WordPiece(), WORDS),
    "WordPiece with another prefix": (decoders.WordPiece("n", cleanup=False), WORDS),
    "bytes": (decoders.ByteLevel(), BYTES),
    "spaces": (decoders.Metaspace(), SPACED),
    "spaces that are kept": (decoders.Metaspace(prepend_scheme="never"), SPACED),
    "another mark of spaces": (decoders.Metaspace("n", prepend_scheme="first"), WORDS),
}


def settings_of(decoder):
    """What an entry holds of a decoder, after a way as JSON; None for a decoder that is not known."""
    tokenizer = Tokenizer(models.BPE())
    if decoder is not None:
        tokenizer.decoder = decoder
    settings = decoder_settings(json.loads(tokenizer.to_str())["decoder"])
    return json.loads(json.dumps(settings))


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.data())
def test_a_decoder_equals_tokenizers(kind, data):
    """Tokens of all kinds join to the same text."""
    decoder, parts = DECODERS[kind]
    tokens = data.draw(st.lists(st.one_of(st.sampled_from(parts), st.text(max_size=3))))
    assert decoder_of(settings_of(decoder)).decode(tokens) == decoder.decode(tokens)


@given(st.binary())
def test_bytes_that_are_no_text(content):
    """What is cut in the middle of a character becomes the same marks of replacement."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["".join(alphabet[byte] for byte in content)]
    decoder = decoders.ByteLevel()
    assert decoder_of(settings_of(decoder)).decode(tokens) == decoder.decode(tokens)


def test_no_decoder():
    """transformers joins with spaces where a tokenizer has no decoder."""
    assert decoder_of(settings_of(None)).decode(["a", "b"]) == "a b"


@pytest.mark.parametrize("decoder", [decoders.Fuse(), decoders.Sequence([decoders.ByteLevel()]), decoders.BPEDecoder()])
def test_an_unknown_decoder(decoder):
    """A decoder that is not known has no settings, so that an export can refuse it."""
    assert settings_of(decoder) is None


def test_settings_without_a_type():
    """Entries from before other decoders were known have word pieces."""
    assert decoder_of({"prefix": "##", "cleanup": True}).decode(["do", "##n", "'", "t"]) == "don ' t"
