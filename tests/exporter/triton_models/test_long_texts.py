"""Long texts are read in pieces, and give what the tokenizer gives when it reads them whole."""

import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hf2triton.triton_models import long_texts, pieces, question_answering
from hf2triton.triton_models import text as texts_of
from hf2triton.triton_models.pieces import Pieces
from hf2triton.triton_models.question_answering import QuestionEncoder, QuestionParameters
from hf2triton.triton_models.text import TextEncoder

from .tokenizing import MAKERS, UNITS, hard_texts, state, tokenizer_of

#: Kinds that must have cuts; the others are known to have none.
WITHOUT_CUTS = {
    "Metaspace that does not split",
    "Strip on the left",
    "no words at all",
    "Llama 3",
    "rstrip",
    "added words",
}
#: Kinds with a Precompiled normalizer, which miscounts the offsets of what begins with a character that it removes: a text, or
#: what follows an added token.
WRONG_OFFSETS = {"XLM-R of today", "XLM-R of before", "T5"}
REMOVED = "\u200b"
MISCOUNTED = re.compile(f"(?:^|<s>|</s>|<unk>|<mask>){REMOVED}")
sides = st.sampled_from(["right", "left"])
#: The shortest cuts wherever there can be a cut.
piece_lengths = st.sampled_from([1, 1, 2, 12])


@pytest.fixture
def small_pieces():
    """Sets the length of pieces, and reads whatever is asked in them."""
    with pytest.MonkeyPatch.context() as patch:

        def set_to(length):
            patch.setattr(pieces, "PIECE", length)
            patch.setattr(long_texts, "_AT_ONCE", 8 * length)

        set_to(12)
        patch.setattr(texts_of, "_SHORT", 0)
        yield set_to


@functools.cache
def tokenizers_of(kind):
    """Three: for what is tested, to cut by itself, and not to cut."""
    return [Tokenizer.from_str(tokenizer_of(kind)) for _ in range(3)]


def encoder_and_oracles(kind, length, side):
    own, cut, whole = tokenizers_of(kind)
    cut.enable_truncation(length, direction=side)
    return TextEncoder(own, length, 0, ["input_ids"], truncation_side=side), cut, whole


def assert_same_rows(kind, length, side, text, with_offsets):
    encoder, cut, whole = encoder_and_oracles(kind, length, side)
    [row] = encoder._cut([text], with_offsets)
    [expected] = (cut.encode_batch if with_offsets else cut.encode_batch_fast)([text])
    [all_tokens] = whole.encode_batch_fast([text])
    actual, wanted = state(row.encoding), state(expected)
    if whole.post_processor is None:  # then tokenizers itself gives a pair's types only together with offsets
        del actual["type_ids"], wanted["type_ids"]
    if kind in WRONG_OFFSETS and any(map(MISCOUNTED.search, [text] if isinstance(text, str) else text)):
        del actual["offsets"], wanted["offsets"]
    assert actual == wanted
    assert row.truncated == len(all_tokens) - len(expected)


@pytest.mark.parametrize("kind", MAKERS)
def test_rows_are_those_of_the_whole_text(kind, small_pieces):
    """Ids, types, offsets, masks, tokens and the number of those cut off, for texts and pairs, cut on either side."""

    @settings(max_examples=25)
    @given(hard_texts, hard_texts, st.integers(5, 40), sides, piece_lengths)
    def check(first, second, length, side, piece):
        small_pieces(piece)
        for text in (first, (first, second)):
            for with_offsets in (False, True):
                assert_same_rows(kind, length, side, text, with_offsets)

    check()


@pytest.mark.parametrize("kind", MAKERS)
def test_tokens_of_the_pieces_are_those_of_the_whole_text(kind, small_pieces):
    """With a cut in every place where there can be one: between any two units, after and before any."""
    small_pieces(1)
    tokenizer = Tokenizer.from_str(tokenizer_of(kind))
    find, random, cuts = Pieces(tokenizer), np.random.default_rng(0), 0
    texts = [f"{first}{between}{second} a" for first, between, second in _neighbours(random)]
    for text, whole in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        places = list(find(text))
        assert "".join(text[start:stop] for start, stop in places) == text
        parts = tokenizer.encode_batch_fast([text[slice(*place)] for place in places], add_special_tokens=False)
        assert [token for part in parts for token in part.ids] == whole.ids, [text[slice(*place)] for place in places]
        cuts += len(places) - 1
    assert (cuts == 0) == (kind in WITHOUT_CUTS)


def _neighbours(random):
    """Each unit after and before some others, with something between or without."""
    for _ in range(8):
        for first, second in zip(UNITS, random.permutation(UNITS), strict=True):
            yield first, random.choice(["", "", " ", "  ", "a"]), second


@pytest.mark.parametrize(
    ("kind", "text", "whole"),
    [
        ("spaces become letters", "a word  a", ["word▁a"]),
        ("added tokens of several kinds of characters", "x ΑΣ1x", ["ΑΣ1"]),
        ("added tokens of several kinds of characters", "x!!a", ["!!a"]),
        ("CLIP", "a<|ENDOFTEXT|>b", []),
        ("CLIP without added tokens", "a<|ENDOFTEXT|>b", []),
        ("XLM-R of today", "a\xa0ﾞ b", []),
        ("XLM-R of today", "a\xa0ﾞ  b \xa0กำ c", []),
        ("byte level with a prefix", "a\nb", []),
        ("single_word", "a whole whole1", ["whole"]),
        ("lstrip", "a   <mask> ab1", ["   <mask>"]),
        ("punctuation after NFC", "a a=\u0338", []),
        ("WordPiece uncased", "e\u0301a e \u0301 x", []),
    ],
)
def test_what_must_not_be_cut_is_whole(kind, text, whole, small_pieces):
    """Cases that a cut in a wrong place would change."""
    small_pieces(1)
    assert_same_rows(kind, 33, "right", text, with_offsets=True)
    encoder, _, _ = encoder_and_oracles(kind, 33, "right")
    [row] = encoder._cut([text], True)
    assert set(whole) <= set(row.tokens)


@pytest.mark.parametrize("kind", sorted(WRONG_OFFSETS))
def test_offsets_after_a_cut_are_right_where_tokenizers_miscounts(kind, small_pieces):
    """A first character that a Precompiled normalizer removes is missing from the offsets of all that follows, up to a cut."""
    small_pieces(1)
    encoder, cut, _ = encoder_and_oracles(kind, 33, "right")
    text = f"{REMOVED}word a"
    [row], miscounted = encoder._cut([text], True), cut.encode(text)
    assert row.ids == miscounted.ids
    assert row.offsets[-2][1] == len(text) == miscounted.offsets[-2][1] + 1


@pytest.mark.parametrize("kind", ["WordPiece uncased", "GPT-2", "CLIP", "XLM-R of today"])
def test_texts_of_many_pieces_are_read_as_they_are_in_earnest(kind):
    """With the lengths that frontends use, on either side, alone and with a short one."""
    find = Pieces(tokenizers_of(kind)[0])
    prose = "Hello, it's 2024!! The naïve école — 東京 😀 said: don't. "
    for index, unit in enumerate(
        [prose, "word ", "a", "!", "東", "😀", "e\u0301", " ", "[MASK] <mask>", "don't", "1a"]
    ):
        text = unit * -(-33_000 // len(unit))
        side = ("left", "right")[index % 2]
        assert unit is not prose or len(list(find(text))) > 1
        assert_same_rows(kind, 128, side, text, with_offsets=True)
        if index < 2:
            assert_same_rows(kind, 128, side, ("Who?", text) if side == "left" else (text, "Who?"), with_offsets=False)


@pytest.mark.parametrize("side", ["right", "left"])
def test_long_and_short_texts_stand_side_by_side(side):
    """Many rows of one call keep their order, with what was cut off each, whoever cut it."""
    kind, length = "WordPiece uncased", 16
    short = [f"word {index}!" for index in range(70)]
    long = ["Hello word " * 300, ("a " * 80, "word " * 30), ("short", "pair"), "", "don't " * 9, ("", "!" * 3000)]
    given_texts = [text for pair in zip(short, long * 12, strict=False) for text in pair]
    reads, cut, whole = encoder_and_oracles(kind, length, side)
    for with_offsets in (False, True):
        rows = reads.encode(given_texts, with_offsets)
        expected = (cut.encode_batch if with_offsets else cut.encode_batch_fast)(given_texts)
        for row, own, text in zip(rows, expected, given_texts, strict=True):
            assert (row.ids, row.type_ids, row.offsets) == (own.ids, own.type_ids, own.offsets)
            assert reads.truncated(row, text) == len(whole.encode_batch_fast([text])[0]) - len(own)
            assert bool(row.overflowing) == (reads.truncated(row, text) > 0)
    assert cut.truncation == reads._tokenizer.truncation


@pytest.mark.parametrize("kind", ["WordPiece uncased", "WordPiece cased", "GPT-2"])
def test_windows_of_long_contexts_are_those_of_short_ones(kind, small_pieces):
    """Counting a context's tokens piece by piece gives the same windows, and refuses the same."""
    tokenizer = Tokenizer.from_str(tokenizer_of(kind))
    made = functools.cache(functools.partial(QuestionEncoder, tokenizer, 48, None))

    @settings(max_examples=40)
    @given(hard_texts, hard_texts, st.integers(12, 40), st.integers(0, 12), sides, sides)
    def check(question, context, length, stride, padding_side, side):
        parameters = QuestionParameters(max_seq_len=length, doc_stride=stride)
        found = []
        answering = made(padding_side, side)
        for whole in (1 << 14, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(question_answering, "PIECE", whole)
                try:
                    found.append([state(row) for row in answering.windows(question, context, parameters).rows])
                except ValueError as error:
                    found.append(str(error))
        assert found[0] == found[1]

    check()
