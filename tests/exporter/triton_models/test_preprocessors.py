"""What frontends tell of the tokens of a text."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from hf2triton.triton_models import preprocessors
from hf2triton.triton_models.fill_mask import FillMaskEncoder, FillMaskParameters
from hf2triton.triton_models.preprocessors import make_preprocessor

from ...support import ASSETS

TOKENIZER = Tokenizer.from_file(str(ASSETS / "bert-ner" / "tokenizer.json"))
#: Added tokens of all kinds, and some whose characters the normalizer changes.
STATES = list(product((False, True), repeat=5))
ADDED = [*(f"<user{number}>" for number in range(len(STATES))), "two words", "ÉCOLE", "İ"]
TOKENIZER.add_tokens(
    [
        AddedToken(content, lstrip=lstrip, rstrip=rstrip, single_word=single, normalized=normalized, special=special)
        for content, (lstrip, rstrip, single, normalized, special) in zip(ADDED, STATES, strict=False)
    ]
)
TOKENIZER.add_tokens(ADDED[len(STATES) :])
PIECES = [
    *ADDED,
    "[UNK]",
    "[MASK]",
    "Maria",
    "Zzyzx",
    "school",
    "İstanbul",
    "e\u0301",
    "ﬁ",
    "Ａ",
    "\u0000",
    "\u200b",
    "東",
    "😀",
]


def preprocessor_of(tokenizer: Tokenizer):
    """A frontend's preprocessor of texts."""
    settings = {
        "kind": "text",
        "inputs": ["input_ids", "attention_mask"],
        "max_length": 24,
        "max_bytes": 1 << 20,
        "pad_token_id": 0,
        "round_to": 1,
        "truncation_side": "right",
        "type_ids": False,
    }
    return make_preprocessor(settings, tokenizer.to_str())


PREPROCESSOR = preprocessor_of(TOKENIZER)
REFERENCE = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, model_max_length=24)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", " ", "  ", "\t"])), max_size=9))
def test_tokens_are_those_of_the_vocabulary(pieces):
    """As transformers converts ids to tokens, whatever spaces or letters stood in the text; offsets say where."""
    text = "".join(piece + space for piece, space in pieces)
    [item] = PREPROCESSOR.items([text], {"tokens"})
    expected = REFERENCE(text, truncation=True, return_offsets_mapping=True)
    answers = PREPROCESSOR.answers()
    tokens = [token.decode() for token in answers["tokens"](item, {})]
    assert tokens == REFERENCE.convert_ids_to_tokens(expected["input_ids"])
    np.testing.assert_array_equal(answers["offsets"](item, {}), expected["offset_mapping"])


def test_a_text_without_tokens_is_refused_alone():
    """A tokenizer without special tokens makes nothing of an empty text; with them it makes a row of those."""
    bare = Tokenizer.from_str(TOKENIZER.to_str())
    bare.post_processor = None
    empty, text = preprocessor_of(bare).items(["", "Maria"], set())
    assert str(empty) == "the text has no tokens"
    assert len(text.rows[0]) > 0
    [row] = PREPROCESSOR.items([""], {"tokens"})
    assert PREPROCESSOR.answers()["tokens"](row, {}).tolist() == [b"[CLS]", b"[SEP]"]


@pytest.mark.parametrize(("side", "kept"), [("right", 0), ("left", -1)])
def test_targets_are_cut_as_texts_are(side, kept):
    """Of a target that is no token, transformers keeps one token on the side that it does not cut."""
    fill = FillMaskEncoder(TOKENIZER, "[MASK]", 0, False, side)
    [encoding] = PREPROCESSOR.encoder.encode(["a [MASK]"])
    row = fill.row(encoding, FillMaskParameters.parse('{"targets": ["", "Zzyzxist"]}'))
    assert row.targets == (TOKENIZER.encode("Zzyzxist", add_special_tokens=False).ids[kept],)


def masked_preprocessor():
    settings = {
        "kind": "masked-text",
        "inputs": ["input_ids", "attention_mask"],
        "max_length": 24,
        "max_bytes": 1 << 20,
        "pad_token_id": 0,
        "round_to": 1,
        "truncation_side": "right",
        "type_ids": False,
        "mask_token": "[MASK]",
        "clean_up": False,
    }
    return make_preprocessor(settings, TOKENIZER.to_str())


def test_logits_of_masks_are_kept_for_who_asks_for_them():
    """A full batch of masks has gigabytes of logits: of those that are not asked for, the likeliest tokens alone are kept."""
    preprocessor = masked_preprocessor()
    [item] = preprocessor.items([("[MASK] or [MASK]", '{"top_k": 2}')], {"answers"})
    [row] = item.rows
    logits = np.random.default_rng(0).normal(size=(2, TOKENIZER.get_vocab_size())).astype(np.float32)
    kept = preprocessor.reduced(row, {"logits": logits}, {"answers"})
    assert [len(tokens) for tokens in kept["likeliest"]] == [2, 2]
    assert "logits" not in kept
    assert [tokens[0][0] for tokens in kept["likeliest"]] == logits.argmax(axis=1).tolist()
    assert preprocessor.reduced(row, {"logits": logits}, {"logits"})["logits"] is logits


def test_more_logits_than_memory_allows_are_refused(monkeypatch):
    """Logits are given of a few masks a text, or of as many as fit; answers of all."""
    monkeypatch.setattr(preprocessors, "MAX_LOGITS_BYTES", 1)
    texts = [("[MASK]" * count, "{}") for count in (16, 17)]
    few, many = masked_preprocessor().items(texts, {"logits"})
    assert len(few.rows[0].positions) == 16
    assert str(many) == "the logits of 17 mask tokens are too many; at most those of 16 are given for a text"
    assert all(len(item.rows) == 1 for item in masked_preprocessor().items(texts, {"answers"}))
