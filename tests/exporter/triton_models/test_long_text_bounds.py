"""What texts cost is bounded: of each request in bytes, of a text by its pieces, of a pair by what is kept of it."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from hf2triton.triton_models import long_texts, pieces
from hf2triton.triton_models.generation.request_state import read_prompt
from hf2triton.triton_models.generation.settings import Settings
from hf2triton.triton_models.inputs import MAX_REQUEST_BYTES, check_size
from hf2triton.triton_models.long_texts import LongTexts
from hf2triton.triton_models.preprocessors import make_preprocessor
from hf2triton.triton_models.question_answering import QuestionEncoder, QuestionParameters
from hf2triton.triton_models.text import TextEncoder

from .tokenizing import tokenizer_of

ROOT = Path(__file__).parents[3]
#: One character that NFKC makes 18 of; nothing may be cut between two of them.
LONG = "ﷺ"
NOT_CUT = (
    r"a part of the text without spaces has 120,000 characters and 2,160,000 when it is normalized; at most 1,048,576"
)
#: Settings of a frontend's preprocessor, for any kind.
SETTINGS = {
    "max_length": 16,
    "pad_token_id": 0,
    "inputs": ["input_ids"],
    "round_to": 1,
    "truncation_side": "right",
    "type_ids": True,
    "max_bytes": 1 << 20,
    "cls_token_id": 2,
    "mask_token": "[MASK]",
    "clean_up": True,
    "lower_case": False,
    "prompts": {},
    "default_prompt_name": None,
    "special_ids": [],
    "pools_prompt": True,
}


class Watched:
    """A tokenizer that keeps what it was asked for: the characters of each text of each call, and whether it would cut them."""

    def __init__(self, kind):
        object.__setattr__(self, "_own", Tokenizer.from_str(tokenizer_of(kind)))
        object.__setattr__(self, "calls", [])

    def __getattr__(self, name):
        return getattr(self._own, name)

    def __setattr__(self, name, value):
        setattr(self._own, name, value)

    def encode_batch(self, texts, **options):
        return self._asked(texts, self._own.encode_batch, options)

    def encode_batch_fast(self, texts, **options):
        return self._asked(texts, self._own.encode_batch_fast, options)

    def encode(self, *texts, **options):
        return self._asked([texts], lambda _, **options: self._own.encode(*texts, **options), options)

    def _asked(self, texts, encode, options):
        sizes = [sum(map(len, (text,) if isinstance(text, str) else text)) for text in texts]
        self.calls.append((sizes, self._own.truncation is not None))
        return encode(texts, **options)


def preprocessor(kind, tokenizer="WordPiece uncased"):
    return make_preprocessor(SETTINGS | {"kind": kind}, tokenizer_of(tokenizer))


@pytest.mark.parametrize("kind", ["WordPiece uncased", "GPT-2", "CLIP", "XLM-R of today"])
@pytest.mark.parametrize("with_offsets", [False, True])
def test_few_characters_are_tokenized_at_the_same_time(kind, with_offsets):
    """Of long texts no more than a number of pieces; nothing is cut off by the tokenizer, which would keep it."""
    watched = Watched(kind)
    encoder = TextEncoder(watched, 16, 0, ["input_ids"])
    watched.calls.clear()  # it may ask for a short pair first
    one, two, three = (f"{number}. " + "Hello, it's 2024! " * 4_000 for number in range(3))
    rows = encoder.encode([one, (two, three), "short", ("so", "short"), (one, two)], with_offsets)
    assert [len(row) for row in rows[:2]] == [16, 16]
    by_hand = [sizes for sizes, cuts in watched.calls if not cuts]
    assert max(map(max, by_hand)) <= 2 * pieces.PIECE
    assert max(map(sum, by_hand)) <= long_texts._AT_ONCE
    assert sum(map(sum, by_hand)) == 3 * len(one), "a text is tokenized once in all of its rows"
    assert [sizes for sizes, cuts in watched.calls if cuts] == [[5, 7]]


def test_the_tokenizer_cuts_short_texts_alone():
    """What it keeps of those it cuts is bounded: of a pair by the product of both."""
    watched = Watched("WordPiece uncased")
    encoder = TextEncoder(watched, 16, 0, ["input_ids"])
    watched.calls.clear()  # it may ask for a short pair first
    lengths = product((10, 40, 100, 3000), (1, 20, 2000))
    # no text occurs twice: those that do are tokenized one by one
    letters = zip("abcdefghijkl", "mnopqrstuvwx", strict=True)
    encoder.encode([(one * count, two * other) for (one, two), (count, other) in zip(letters, lengths, strict=True)])
    pairs = [size for sizes, cuts in watched.calls if cuts for size in sizes]
    assert sorted(pairs) == [11, 30, 41, 60]
    watched.calls.clear()
    encoder.encode(["a" * count for count in (10, 2048, 2049)] * 40 + [LONG * 113, LONG * 114])
    cut = [sizes for sizes, cuts in watched.calls if cuts]
    assert [len(sizes) for sizes in cut] == [64, 17]
    assert {size for sizes in cut for size in sizes} == {10, 113, 2048}


def test_tokens_that_do_not_count_are_not_kept():
    """Of each text as many as a row has, however many it has."""
    tokenizer = Tokenizer.from_str(tokenizer_of("GPT-2"))
    for from_end in (False, True):
        [tokens] = LongTexts(tokenizer).read(["word 1 " * 30_000], 10, from_end)
        assert tokens.count > 60_000
        assert sum(len(kept[0]) for kept in tokens._kept) == 10
        assert tokens._whole is None


def test_a_long_pair_takes_little_memory():
    """Two long texts (of two of 14 kB all that was cut off once took 3.9 GB), and four rows of signs, in a new process."""
    code = """
import resource
from tests.exporter.triton_models.tokenizing import of_asset
from hf2triton.triton_models.text import TextEncoder

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

encoder = TextEncoder(of_asset("bert-sentiment"), 128, 0, ["input_ids"])
encoder.encode(["word", ("a", "b")])
before = peak()
[row] = encoder.encode([("word 1 " * 12_000, "a b! " * 12_000)])
assert (len(row), row.truncated) == (128, 24_000 + 36_000 + 3 - 128), (len(row), row.truncated)
encoder.encode(["!" * 100_000] * 4)
print(peak() - before)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 300  # MiB; it is about 30


def test_texts_that_cannot_be_cut_are_refused():
    """Where they would be too long when normalized; others in the same call are read."""
    tokenizer = Tokenizer.from_str(tokenizer_of("NFKC and Metaspace"))
    encoder = TextEncoder(tokenizer, 16, 0, ["input_ids"])
    texts = [LONG * 120_000, "word " * 1000, "a", ("a", LONG * 120_000), (LONG * 50, "a"), f"{LONG} " * 60_000]
    rows = encoder.encode(texts)
    for row in (rows[0], rows[3]):
        assert isinstance(row, ValueError)
        assert re.match(NOT_CUT, str(row))
    assert [len(rows[index]) for index in (1, 2, 4, 5)] == [16, len(tokenizer.encode("a")), 16, 16]
    assert encoder.encode(["a " * 3000])[0].ids == tokenizer.encode("a " * 3000).ids


def test_all_readers_refuse_them():
    """Prompts, questions and contexts too: the item fails, with what is wrong, and no other does."""
    text = LONG * 120_000
    for kind, values in (
        ("text", [text, "a"]),
        ("masked-text", [(text, "{}"), ("a <mask>", "{}")]),
        ("sentence", [(text, ""), ("a", "")]),
        ("question", [("a", text, "{}"), ("a", "a", "{}")]),
    ):
        made = make_preprocessor(SETTINGS | {"kind": kind, "mask_token": "<mask>"}, tokenizer_of("NFKC and Metaspace"))
        refused, read = made.items(values, set())
        assert re.match(NOT_CUT, str(refused)), kind
        assert len(read.rows) == 1
    tokenizer = Tokenizer.from_str(tokenizer_of("NFKC and Metaspace"))
    with pytest.raises(ValueError, match=NOT_CUT):
        read_prompt(text, tokenizer, Settings(truncate_prompt=True), 16, None)
    with pytest.raises(ValueError, match=NOT_CUT):
        QuestionEncoder(tokenizer, 16, None).windows(text, "a", QuestionParameters())


def strings(*values):
    return np.array(values, np.object_)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("text", ["text", "text_pair"]),
        ("sentence", ["text", "text_pair", "parameters"]),
        ("masked-text", ["text", "parameters"]),
        ("question", ["text", "text_pair", "parameters"]),
    ],
)
def test_large_requests_are_refused_before_they_are_read(kind, names):
    """By the bytes of all their texts together, parameters included, though each is within its own bound."""
    made = preprocessor(kind)
    made.tokenizer = made.encoder = None  # whatever is read fails otherwise
    rows = MAX_REQUEST_BYTES // (SETTINGS["max_bytes"] * len(names)) + 1
    arrays = {name: strings(*[b"\xff" * SETTINGS["max_bytes"]] * rows) for name in names}
    with pytest.raises(
        ValueError, match=r"the request has [\d,]+ bytes of text in all; at most 4,194,304 are taken: send"
    ):
        made.values(arrays)


def test_the_bound_of_a_request_is_exact():
    """Bytes, not characters, whatever the shape of its arrays."""
    quarter = "é".encode() * (MAX_REQUEST_BYTES // 8)
    check_size([strings(quarter, quarter).reshape(2, 1), strings(quarter, quarter)])
    check_size([])
    with pytest.raises(ValueError, match="the request has 4,194,305 bytes of text in all"):
        check_size([strings(quarter, quarter), strings(quarter, quarter + b"!")])


def test_what_long_texts_took_goes_back(monkeypatch):
    """Once they are read, since the graph takes memory next; short texts are not held up by it."""
    told = []
    monkeypatch.setattr(long_texts, "trim", lambda: told.append(True))
    encoder = TextEncoder(Tokenizer.from_str(tokenizer_of("WordPiece uncased")), 16, 0, ["input_ids"])
    encoder.encode(["a" * 3000])
    assert told == []
    encoder.encode(["a " * long_texts._AT_ONCE])
    assert told == [True]
