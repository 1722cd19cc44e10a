"""What PyTorch is asked about a decoder: the same whatever its generation config is, and within its context."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.parity.decoder_baseline import NEW_TOKENS, TOP, compared_positions, prompt_ids, record_texts
from hf2triton.triton_models.generation.generation_config import eos_token_ids
from hf2triton.triton_models.generation.settings import Settings
from hf2triton_client.evaluation.baseline import Baseline

from ..verses import VERSES, load, make_tiny


def test_what_is_recorded(baseline, verses):
    """Greedy texts after eight prompts, from one that is short to one that fills the context, with PyTorch's likeliest tokens."""
    checkpoint, endpoint = verses
    lengths = [len(ids) for ids in prompt_ids(preprocessor_of(checkpoint, endpoint), baseline.inputs["text_input"])]
    assert len(lengths) == 8
    assert min(lengths) <= 2
    assert 256 - NEW_TOKENS - 4 < max(lengths) <= 256 - NEW_TOKENS
    for index, length in enumerate(lengths):
        answers = {name: arrays[index] for name, arrays in baseline.answers.items()}
        assert answers["token_ids"].shape == (NEW_TOKENS,)
        assert answers["top_ids"].shape == answers["top_logits"].shape == (NEW_TOKENS, TOP)
        assert answers["logits"].shape == (len(compared_positions(length, NEW_TOKENS)), 2000)
        np.testing.assert_array_equal(answers["top_ids"][:, 0], answers["token_ids"])
        np.testing.assert_array_equal(answers["logits"][-NEW_TOKENS:].max(axis=1), answers["top_logits"][:, 0])
        assert (np.diff(answers["top_logits"]) <= 0).all()


@pytest.mark.parametrize(
    ("prompt", "new", "positions"),
    [(1, 1, [0]), (1, 3, [0, 1, 2]), (3, 2, [0, 1, 2, 3]), (31, 1, list(range(0, 31, 2)))],
)
def test_positions_that_are_compared(prompt, new, positions):
    """Some of the prompt, its last among them, and each later one that a token follows."""
    assert compared_positions(prompt, new) == positions


@pytest.mark.parametrize("prompt", [16, 17, 100, 960])
def test_long_prompts_are_compared_in_part(prompt):
    """No more positions than POSITIONS, from the first to the last."""
    inside = compared_positions(prompt, 64)[:-63]
    assert (inside[0], inside[-1], len(inside), len(set(inside))) == (0, prompt - 1, 16, 16)


def test_the_baselines_file_holds_no_full_logits(baseline, tmp_path):
    """They are as long as the vocabulary; what is kept is what greedy texts are compared with."""
    path = tmp_path / "baseline.safetensors"
    baseline.save(path)
    assert {name.split(".")[-2] for name in load_file(path)} == {"token_ids", "top_ids", "top_logits"}
    assert max(array.size for array in load_file(path).values()) == NEW_TOKENS * TOP
    assert path.stat().st_size < 200_000
    loaded = Baseline.load(path)
    assert set(loaded.tolerances) == {"token_ids", "answers"}
    assert loaded.questions == baseline.questions


def copied(folder, **generation):
    """A copy of the verses with another generation config."""
    shutil.copytree(VERSES, folder)
    path = Path(folder, "generation_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | generation))
    return folder


def test_the_generation_config_changes_nothing(baseline, verses, tmp_path):
    """A checkpoint that samples, penalises or stops is asked the same and proved by the same texts; served texts are asked for
    as greedy ones, whatever its own settings are."""
    sampling = {"do_sample": True, "temperature": 0.5, "top_k": 3, "num_return_sequences": 2}
    penalties = {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "min_new_tokens": 9, "min_length": 30}
    ends = {"eos_token_id": baseline.answers["token_ids"][0][:9].tolist(), "max_length": 5, "stop_strings": ["e", "a"]}
    checkpoint, endpoint = load(copied(tmp_path / "sampled", **sampling, **penalties, **ends))
    own = checkpoint.model.generation_config
    recorded = record_texts(checkpoint, endpoint, "fp32")
    assert recorded.inputs == baseline.inputs
    for name, arrays in baseline.answers.items():
        for ours, theirs in zip(recorded.answers[name], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert checkpoint.model.generation_config is own
    defaults = Settings.of_checkpoint(checkpoint.generation)
    assert defaults.do_sample
    for text in recorded.inputs["sampling_parameters"]:
        settings = Settings.parse(text, defaults)
        assert settings.least_new_tokens(1) == 0
        plain = Settings(max_new_tokens=NEW_TOKENS, ignore_eos=True)
        for name in ("max_new_tokens", "do_sample", "repetition_penalty", "no_repeat_ngram_size", "stop", "ignore_eos"):
            assert getattr(settings, name) == getattr(plain, name)
        assert settings.num_return_sequences == 1
    assert len(eos_token_ids(checkpoint.generation)) == 9


@pytest.mark.parametrize("positions", [2, 3, 5, 8, 9, 40, 127])
def test_a_short_context_is_filled(tmp_path, positions):
    """Prompts and new tokens share what there is: half of it is for the new ones, and no text is cut within a character."""
    checkpoint, endpoint = load(make_tiny(tmp_path / "tiny", positions))
    recorded = record_texts(checkpoint, endpoint, "fp32")
    new = positions // 2
    lengths = [len(ids) for ids in prompt_ids(preprocessor_of(checkpoint, endpoint), recorded.inputs["text_input"])]
    assert {len(tokens) for tokens in recorded.answers["token_ids"]} == {new}
    assert positions - new - 3 <= max(lengths) <= positions - new
    assert all(text == text.strip() and "\ufffd" not in text for text in recorded.inputs["text_input"])
    assert len(lengths) == 8 or positions < 8
