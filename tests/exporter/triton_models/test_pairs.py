"""Pairs whose texts occur several times are tokenized as if they occurred once."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from hf2triton.triton_models.text import TextEncoder

from ...support import ASSETS, TEXTS

LIMIT = 20
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
LETTERS = {piece: 4 + index for index, piece in enumerate(sorted({*"▁Ġabcdefghijklmnopqrstuvwxyz.,", "th", "er"}))}


def wordpiece() -> Tokenizer:
    return Tokenizer.from_file(str(ASSETS / "bert-ner" / "tokenizer.json"))


def byte_level(processor) -> Tokenizer:
    """Two separators between the texts, and offsets that leave spaces out."""
    tokenizer = Tokenizer(models.BPE({**SPECIAL, **LETTERS}, [("t", "h"), ("e", "r")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder, tokenizer.post_processor = decoders.ByteLevel(), processor
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [*((name, 0.0) for name in SPECIAL), *((piece, -3.0) for piece in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


TOKENIZERS = {
    "wordpiece": wordpiece(),
    "byte level, as RoBERTa": byte_level(processors.RobertaProcessing(("</s>", 2), ("<s>", 0))),
    "byte level, without special tokens": byte_level(processors.ByteLevel(trim_offsets=True)),
    "no post-processor": byte_level(None),
    "unigram": unigram(),
}
PARTS = st.lists(st.sampled_from([*TEXTS[:6], "", " ", "the", "naïve ", "\u200b", "東京"]), max_size=4).map("".join)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=20)
@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(PARTS, min_size=1, max_size=4), st.booleans())
def test_a_text_in_many_pairs_is_read_as_in_one(tokenizer, side, queries, documents, with_offsets):
    """Ids, types, offsets and what the limit cut off are those of the tokenizer's own pairs."""
    if "special tokens" in tokenizer or "post-processor" in tokenizer:
        # long pairs have no types without a processor that sets them; an export compares types, and refuses such a tokenizer
        queries, documents = [text[:30] for text in queries], [text[:30] for text in documents]
    pairs = list(product(queries, documents))
    expected = Tokenizer.from_str(TOKENIZERS[tokenizer].to_str())
    expected.enable_truncation(LIMIT, direction=side)
    encoder = TextEncoder(
        Tokenizer.from_str(TOKENIZERS[tokenizer].to_str()),
        LIMIT,
        1,
        ["input_ids", "attention_mask", "token_type_ids"],
        truncation_side=side,
    )
    rows = encoder.encode(pairs, with_offsets)
    whole_rows = expected.encode_batch(pairs) if with_offsets else expected.encode_batch_fast(pairs)
    for whole, row in zip(whole_rows, rows, strict=True):
        assert (row.ids, row.type_ids, row.attention_mask) == (whole.ids, whole.type_ids, whole.attention_mask)
        assert row.special_tokens_mask == whole.special_tokens_mask
        assert bool(row.overflowing) == bool(whole.overflowing)
        if with_offsets:
            assert row.offsets == whole.offsets


def test_a_query_is_tokenized_once():
    """A tokenizer that counts reads a query and its documents once each, also if they are long."""

    class Counting:
        """Passes everything on, and counts the texts that are tokenized."""

        def __init__(self, tokenizer):
            self._tokenizer, self.texts = tokenizer, 0

        def __getattr__(self, name):
            value = getattr(self._tokenizer, name)
            if name not in ("encode_batch", "encode_batch_fast"):
                return value

            def counted(texts, *arguments, **options):
                self.texts += sum(1 if isinstance(text, str) else 2 for text in texts)
                return value(texts, *arguments, **options)

            return counted

        def __setattr__(self, name, value):
            if name in ("_tokenizer", "texts"):
                object.__setattr__(self, name, value)
            else:
                setattr(self._tokenizer, name, value)

    counting = Counting(wordpiece())
    encoder = TextEncoder(counting, LIMIT, 1, ["input_ids"])
    for length in (1, 50):
        counting.texts = 0
        encoder.encode([("who is Maria?", f"{number} " * length) for number in range(40)])
        assert counting.texts == 41
