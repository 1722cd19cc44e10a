"""A checkpoint's tokenizer becomes one that frontends can load, the same however it was saved; what cannot be served is
refused."""

import json
import shutil

import pytest
import tokenizers
from transformers import AutoTokenizer

from hf2triton.checkpoint.tokenizer import load_tokenizer, require_streaming
from hf2triton.errors import SourceError, TokenizerMissing

from ...conftest import asset
from ...support import TEXTS
from ..verses import VERSES

BERT = asset("bert", "text-classification")
#: Byte fallback among others, and alone.
BYTE_FALLBACK = (
    {"type": "ByteFallback"},
    {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
)


@pytest.fixture
def folder(tmp_path):
    """A copy of the verses' tokenizer, to be changed."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(VERSES, copy, ignore=shutil.ignore_patterns("model.safetensors"))
    return copy


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def give_decoder(folder, decoder):
    """A decoder of its own, which transformers' GPT2Tokenizer would replace."""
    edit(folder / "tokenizer.json", decoder=decoder)
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


@pytest.mark.parametrize("source", [VERSES, BERT], ids=["gpt2", "bert"])
def test_texts_become_the_same_tokens_as_in_transformers(source):
    """All of them, however long: the definition neither truncates nor pads."""
    tokenizer, _ = load_tokenizer(source, pads=source == BERT)
    served, own = tokenizers.Tokenizer.from_str(tokenizer.definition), AutoTokenizer.from_pretrained(source)
    for text in TEXTS:
        assert served.encode(text).ids == own(text, truncation=False)["input_ids"]
    assert max(len(served.encode(text).ids) for text in TEXTS) > 300


def test_truncation_and_padding_that_were_saved_are_left_out(folder):
    """A tokenizer that was saved in the middle of a training keeps both in its file."""
    expected, _ = load_tokenizer(folder, pads=False)
    own = AutoTokenizer.from_pretrained(folder)
    own.pad_token = own.eos_token
    own(TEXTS, truncation=True, max_length=8, padding="max_length")
    own.backend_tokenizer.save(str(folder / "tokenizer.json"))
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"]["max_length"] == 8
    tokenizer, _ = load_tokenizer(folder, pads=False)
    assert json.loads(tokenizer.definition) == json.loads(expected.definition)


def test_a_vocabulary_with_merges_is_a_tokenizer(folder):
    """As GPT-2 was published first: vocab.json and merges.txt give what tokenizer.json gives."""
    whole, _ = load_tokenizer(folder, pads=False)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    with pytest.raises(TokenizerMissing, match=r"lacks merges\.txt"):
        load_tokenizer(folder, pads=False)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    parts, _ = load_tokenizer(folder, pads=False)
    one, other = (tokenizers.Tokenizer.from_str(tokenizer.definition) for tokenizer in (whole, parts))
    for text in TEXTS:
        ids = one.encode(text).ids
        assert other.encode(text).ids == ids
        assert other.decode(ids) == one.decode(ids) == text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            r"has no tokenizer \(tokenizer.json, vocab.txt, vocab.json",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "does not load"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0"}'), "does not load"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe"), "does not load"),
    ],
)
def test_what_is_no_tokenizer_is_refused(folder, spoil, message):
    """The error names the folder."""
    spoil(folder)
    with pytest.raises(TokenizerMissing, match=message) as raised:
        load_tokenizer(folder, pads=False)
    assert str(folder) in str(raised.value)


def test_padding_is_needed_only_where_rows_are_run_together(folder):
    """Generation needs no padding token: what stands for it is one that the model has."""
    with pytest.raises(TokenizerMissing, match="has no padding token"):
        load_tokenizer(folder, pads=True)
    assert load_tokenizer(folder, pads=False)[0].pad_token_id == 1999  # the end of text
    edit(folder / "tokenizer_config.json", eos_token=None)
    assert load_tokenizer(folder, pads=False)[0].pad_token_id == 0
    edit(folder / "tokenizer_config.json", pad_token="Ġthe")
    expected = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("Ġthe")
    for pads in (True, False):
        assert load_tokenizer(folder, pads)[0].pad_token_id == expected != 0


@pytest.mark.parametrize(("given", "limit"), [(256, 256), (1e30, None), (None, None)])
def test_the_limit_is_the_tokenizers(folder, given, limit):
    """Also where it is written as a number beyond any length, or not at all."""
    edit(folder / "tokenizer_config.json", model_max_length=given)
    assert load_tokenizer(folder, pads=False)[1] == limit


def test_the_config_says_nothing_of_the_machine(folder, tmp_path):
    """It is the same from any folder, is what transformers loads, and names no path."""
    elsewhere = shutil.copytree(folder, tmp_path / "another" / "place")
    one, other = (load_tokenizer(path, pads=False)[0] for path in (folder, elsewhere))
    assert one == other
    assert str(tmp_path) not in one.config
    assert not {"name_or_path", "is_local", "local_files_only"} & set(json.loads(one.config))
    (elsewhere / "tokenizer_config.json").write_text(one.config)
    (elsewhere / "tokenizer.json").write_text(one.definition)
    again = AutoTokenizer.from_pretrained(elsewhere)
    assert (again.eos_token_id, again.bos_token_id) == (1999, 1999)
    assert again.decode(again(TEXTS[4])["input_ids"]) == TEXTS[4]


@pytest.mark.parametrize("source", [VERSES, BERT], ids=["bytes", "word pieces"])
def test_what_can_be_given_piece_by_piece_is_taken(source):
    """Byte-level tokenizers as GPT-2's, and word pieces as Chinese GPT-2's."""
    assert require_streaming(load_tokenizer(source, pads=False)[0], source) is None


@pytest.mark.parametrize("decoder", BYTE_FALLBACK, ids=["alone", "in a sequence"])
def test_byte_fallback_is_refused(folder, decoder):
    """Its text can change after it was given; the error names the folder and the reason."""
    give_decoder(folder, decoder)
    with pytest.raises(SourceError, match="cannot be served: the tokenizer decodes with byte fallback") as raised:
        require_streaming(load_tokenizer(folder, pads=False)[0], folder)
    assert str(folder) in str(raised.value)
