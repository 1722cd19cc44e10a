"""The fast form of tokenizers that transformers has in Python alone, compared with these tokenizers."""

from __future__ import annotations

import io
import json
import random
import shutil
import string

import pytest
from tokenizers import Tokenizer

from hf2triton.checkpoint.sample_inputs import texts
from hf2triton.checkpoint.sentence_pieces import fast_form
from hf2triton.checkpoint.tokenizer import load_tokenizer
from hf2triton.core.options import ExportOptions
from hf2triton.errors import TokenizerMissing
from hf2triton.export.pipeline import export
from hf2triton.families import FAMILIES

from ...checkpoints.judges import judge_of, served
from ...support import ASSETS, TEXTS, assert_outputs_match

NORMALIZERS = FAMILIES["siglip"].piece_normalizers
#: Texts at the edges of what is taken out, joined and put before.
ODD = [
    "",
    "!!!",
    " a",
    "a ",
    "  two  spaces",
    "▁x",
    "x▁y",
    "A-B",
    "don't",
    "\tq\n",
    "ΟΔΟΣ",
    "İstanbul",
    "ﬁ ① ½ Å",
    "x\u3000y\xa0z\u2028",
]


def _folder(tmp_path, model_type="unigram", pieces=600, **settings):
    spm = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(text.lower() for text in texts() if text.isascii()),
        character_coverage=0.98,
        model_writer=model,
        model_type=model_type,
        vocab_size=pieces,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    content = {"tokenizer_class": "SiglipTokenizer", "model_input_names": ["input_ids"], **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("lower", [True, False])
def test_the_same_tokens(lower, tmp_path):
    """Real, odd and random texts have the tokens that the original gives."""
    from transformers import SiglipTokenizer

    original = SiglipTokenizer.from_pretrained(_folder(tmp_path, do_lower_case=lower))
    fast = Tokenizer.from_str(fast_form(original, NORMALIZERS))
    rng = random.Random(0)
    letters = string.printable + "äÖßéı東京🙂\u00a0\u3000—…²"
    chance = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 40))) for _ in range(500)]
    for text in [*texts(), *TEXTS, *ODD, *chance]:
        assert fast.encode(text).ids == original(text)["input_ids"], repr(text)


def test_a_folder_without_a_fast_form(tmp_path):
    """Such a tokenizer is loaded in its fast form for families that say what it does, and refused for others."""
    folder = _folder(tmp_path)
    tokenizer, limit = load_tokenizer(folder, True, NORMALIZERS)
    assert (limit, tokenizer.pad_token_id, tokenizer.masks) == (64, 1, False)
    assert json.loads(tokenizer.definition)["model"]["type"] == "Unigram"
    with pytest.raises(TokenizerMissing, match="SiglipTokenizer, which is written in Python"):
        load_tokenizer(folder, True)


def test_pieces_that_are_merged(tmp_path):
    """A model of another kind is refused."""
    with pytest.raises(TokenizerMissing, match=r"spiece\.model is not a Unigram model"):
        load_tokenizer(_folder(tmp_path, "bpe"), True, NORMALIZERS)


@pytest.mark.slow
def test_an_export_of_a_folder_without_a_fast_form(tmp_path):
    """The export compares its tokens with the original's, and its answers with those of transformers' pipeline."""
    folder = _folder(shutil.copytree(ASSETS / "siglip-fashion", tmp_path / "checkpoint"), pieces=100)
    (folder / "tokenizer.json").unlink()
    report = export(ExportOptions(str(folder), "m", precision="fp32", repository=tmp_path / "repository"))
    assert all(parity.passed for parity in report.parity.values())
    ours, theirs = served(report.task, tmp_path / "repository", "m"), judge_of(report.task, folder)
    image = str(folder / "sample" / "00.png")
    labels = ["a boot", "Trousers!", "  it's  two", "naïve", "word " * 70]
    assert_outputs_match(theirs(image, candidate_labels=labels), ours(image, candidate_labels=labels), 1e-4)
