"""What ranges are measured on: texts, images and tensors of the user's own, shipped ones, and random ones as a last resort."""

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.sample_inputs import parity_inputs, texts
from hf2triton.checkpoint.source import find_source
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.core.types import Graph, GraphInput
from hf2triton.parity.calibration_inputs import MOST_ROWS, calibration_of
from hf2triton_client.evaluation.baseline import Baseline

from ...support import ASSETS
from .calibrating import (
    DECODER_INPUTS,
    PIXELS,
    STATE,
    TEXT_INPUTS,
    decoder_tensors,
    export,
    lines_in,
    load,
    saved,
    tensors,
)

IMAGES = Path(str(resources.files("hf2triton") / "data" / "images"))
SENTIMENT = ASSETS / "bert-sentiment"


def rows_of(calibration):
    return [len(feeds["input_ids"]) for feeds in calibration.feeds]


def test_lines_of_text(tmp_path):
    """Each line that is not blank is a row as the frontend reads it, four to a call."""
    lines = [f"This is line {number}." + " word" * number for number in range(20)]
    path = lines_in(tmp_path / "own.txt", "", *lines, "  \t ", "")
    calibration, preprocessor = load("bert", "text-classification", path)
    assert (calibration.about, calibration.own, calibration.warnings) == ("20 texts of own.txt", True, ())
    assert rows_of(calibration) == [4] * 5
    rows = [item.rows[0] for item in preprocessor.items(lines, set())]
    for name, expected in preprocessor.feeds(rows[4:8]).items():
        np.testing.assert_array_equal(calibration.feeds[1][name], expected)


def test_lines_become_questions(tmp_path):
    """Where a task has pairs, lines are the contexts, with a question to each."""
    path = lines_in(tmp_path / "own.txt", "Angela Schmidt of Acme Ltd flew to Paris on Monday.", "It is a chair.")
    calibration, preprocessor = load("bert", "question-answering", path)
    assert calibration.own
    decoded = preprocessor.tokenizer.decode(calibration.feeds[0]["input_ids"][0].tolist())
    assert "who is it about" in decoded.lower()
    assert "acme" in decoded.lower().replace(" ", "")
    assert calibration.feeds[0]["token_type_ids"].any()


def test_lines_get_masks(tmp_path):
    """A masked language model is asked for a word of each line."""
    inputs = (*TEXT_INPUTS, GraphInput("mask_positions", "INT64", ("batch", "masks")))
    path = lines_in(tmp_path / "own.txt", "It is a chair.", "One two three four five six seven eight nine ten.")
    calibration, preprocessor = load("bert", "fill-mask", path, inputs)
    [feeds] = calibration.feeds
    mask = preprocessor.tokenizer.token_to_id("[MASK]")
    assert (feeds["input_ids"] == mask).sum(axis=1).tolist() == [1, 2]
    assert (np.take_along_axis(feeds["input_ids"], feeds["mask_positions"], 1)[:, 0] == mask).all()


def test_a_long_file(tmp_path):
    """The first 512 rows are taken, and the plan says so."""
    path = lines_in(tmp_path / "own.txt", *["It is a chair."] * (MOST_ROWS + 1))
    calibration, _ = load("bert", "text-classification", path)
    assert sum(rows_of(calibration)) == MOST_ROWS == 512
    assert calibration.about == "513 texts of own.txt, the first 512 rows of them"


def test_lines_for_a_decoder(tmp_path):
    """Each line is a text of its own, from an empty past."""
    calibration, preprocessor = load("gpt2", "text-generation", lines_in(tmp_path / "own.txt", "Yes.", "No, not now."))
    assert (calibration.about, calibration.own) == ("2 texts of own.txt", True)
    for feeds, line in zip(calibration.feeds, ["Yes.", "No, not now."], strict=True):
        ids = preprocessor.tokenizer.encode(line).ids
        assert feeds["input_ids"].tolist() == [ids]
        assert feeds["attention_mask"].tolist() == [[1] * len(ids)]
        assert feeds["position_ids"].tolist() == [list(range(len(ids)))]


def test_a_folder_of_images(tmp_path):
    """Files that are images by their name, in order; others are passed over."""
    for name in ("chelsea.jpg", "coffee.webp", "README.md"):
        shutil.copy(IMAGES / name, tmp_path)
    shutil.copy(IMAGES / "grass.png", tmp_path / "A.PNG")
    calibration, preprocessor = load("vit", "image-classification", tmp_path, PIXELS)
    assert (calibration.about, calibration.own) == (f"3 images of {tmp_path.name}", True)
    [feeds] = calibration.feeds
    files = [(IMAGES / name).read_bytes() for name in ("grass.png", "chelsea.jpg", "coffee.webp")]
    rows = [item.rows[0] for item in preprocessor.items(files, set())]
    np.testing.assert_array_equal(feeds["pixel_values"], preprocessor.feeds(rows)["pixel_values"])


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_tensors_for_an_encoder(tmp_path, dtype):
    """The graph's own inputs, four rows a call, in the graph's type."""
    arrays = tensors(dtype=dtype)
    calibration, _ = load("bert", "text-classification", saved(tmp_path / "own.npz", arrays))
    assert (calibration.about, calibration.own) == ("the tensors in own.npz", True)
    assert rows_of(calibration) == [4] * 5
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.concatenate([feeds[name] for feeds in calibration.feeds]), array)
        assert all(feeds[name].dtype == np.int64 for feeds in calibration.feeds)


def test_tensors_for_images(tmp_path):
    """Pixels as the graph takes them, in any float type."""
    pixels = np.random.default_rng(0).standard_normal((3, 3, 28, 28))
    path = saved(tmp_path / "own.npz", {"pixel_values": pixels})
    [feeds] = load("vit", "image-classification", path, PIXELS)[0].feeds
    assert feeds["pixel_values"].dtype == np.float32
    np.testing.assert_allclose(feeds["pixel_values"], pixels, rtol=1e-6)


def test_tensors_for_a_decoder(tmp_path):
    """One row a call, its past among them."""
    arrays = decoder_tensors()
    calibration, _ = load("gpt2", "text-generation", saved(tmp_path / "own.npz", arrays), DECODER_INPUTS)
    assert rows_of(calibration) == [1, 1, 1]
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.concatenate([feeds[name] for feeds in calibration.feeds]), array)


@pytest.mark.parametrize(
    ("given", "abouts"),
    [
        ("own.txt", ("1 texts of own.txt", "9 images that come with hf2triton")),
        ("images", ("30 texts that come with hf2triton", "2 images of images")),
    ],
)
def test_clip_takes_either_kind(tmp_path, given, abouts):
    """The part of that kind is calibrated with it, the other with what comes with the package."""
    lines_in(tmp_path / "own.txt", "a photo of a chair")
    (tmp_path / "images").mkdir()
    for name in ("chelsea.jpg", "coffee.webp"):
        shutil.copy(IMAGES / name, tmp_path / "images")
    for endpoint, about in enumerate(abouts):
        calibration, _ = load("clip", "zero-shot-image-classification", tmp_path / given, endpoint=endpoint)
        assert (calibration.about, calibration.own) == (about, "come with" not in about)


def test_what_comes_with_the_package():
    """Without a file: the shipped texts, in calls of four, which the user need not answer for."""
    calibration, _ = load("bert", "text-classification")
    assert (calibration.about, calibration.own) == ("30 texts that come with hf2triton", False)
    assert rows_of(calibration) == [4] * 7 + [2]


@pytest.fixture
def strange(tmp_path):
    """A checkpoint whose tokenizer knows no word of any language."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "strange"))
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in definition["added_tokens"]}
    vocabulary = definition["model"]["vocab"]
    definition["model"]["vocab"] = {
        token if token in special else f"qzx{number}": number for token, number in vocabulary.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    return folder


def test_a_tokenizer_that_knows_none_of_the_texts(strange, tmp_path):
    """Random tokens, the same each time, and a warning in the report and on the terminal; the user's own text needs none."""
    result = export(strange, tmp_path)
    assert result.exit_code == 0, result.output
    [plan] = json.loads((tmp_path / "report.json").read_text())["precision_plans"].values()
    assert plan["calibration"] == "random tokens"
    [warning] = plan["warnings"]
    assert warning.startswith("calibrated with random tokens: the tokenizer does not know ")
    assert warning.endswith("give real ones with --calibration")
    assert f"warning: {warning}" in result.stdout.splitlines()


def test_random_tokens(strange, tmp_path):
    """They are in the vocabulary, in rows of all lengths from one to the longest, and the same at each call."""
    checkpoint = load_checkpoint(find_source(str(strange)), None)
    [endpoint] = checkpoint.task.endpoints
    baseline = Baseline("text-classification", "fp16", parity_inputs(checkpoint, endpoint), {}, {}, {})
    graph = Graph(None, TEXT_INPUTS, (), "fused")
    first, second = (calibration_of(checkpoint, endpoint, graph, baseline, None) for _ in range(2))
    assert not first.own
    widths = [feeds["input_ids"].shape[1] for feeds in first.feeds]
    assert (widths[0], widths[-1]) == (1, 128)
    for one, other in zip(first.feeds, second.feeds, strict=True):
        assert set(one) == {value.name for value in TEXT_INPUTS}
        assert one["input_ids"].max() < 3000
        assert one["attention_mask"].all()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    own = lines_in(tmp_path / "own.txt", "qzx7 qzx8")
    assert calibration_of(checkpoint, endpoint, graph, baseline, own).warnings == ()
    decoder = replace(graph, state=STATE, inputs=DECODER_INPUTS)
    feeds = calibration_of(checkpoint, endpoint, decoder, baseline, None).feeds
    assert [call["input_ids"].shape[0] for call in feeds] == [1] * len(feeds)
    assert all(call["past_key_values.0.key"].shape == (1, 4, 0, 32) for call in feeds)


@pytest.fixture
def overflowing_token(tmp_path):
    """A checkpoint with a token that overflows fp16, and tensors with this token, which parity never asks."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "token"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    asked = {
        id
        for text in (*texts(), "Maria went to Paris. Is it a chair? negative, neutral, positive")
        for id in tokenizer.encode(text).ids
    }
    token = max(
        id for id in range(tokenizer.get_vocab_size()) if id not in asked and tokenizer.id_to_token(id).isalpha()
    )
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][token, ::2] = 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    arrays = tensors(rows=10)
    arrays["input_ids"][:] = np.where(arrays["input_ids"] == token, 1000, arrays["input_ids"])
    arrays["input_ids"][7, 5:] = token
    return folder, saved(tmp_path / "token.npz", arrays)


@pytest.mark.slow
def test_own_inputs_that_overflow_fail_parity(overflowing_token, tmp_path):
    """Where nothing is kept in fp32 the user's own inputs give NaN on the rounded twin, though PyTorch was not asked for
    them: exit code 3, and the check is named. With what calibration keeps they pass."""
    folder, own = overflowing_token
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    assert export(folder, tmp_path, "--precision-plan", plain).exit_code == 0
    result = export(folder, tmp_path, "--precision-plan", plain, "--calibration", own)
    assert result.exit_code == 3
    assert "rounded to fp16: calibration inputs, output logits: 1 of 10 rows hold a NaN" in result.stderr
    assert 'calibration row 7 ("' in result.stderr, "the row is named by its number and its tokens"
    assert "row 3 of its batch" in result.stderr
    checks = json.loads((tmp_path / "report.json").read_text())["parity"]["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == [
        f"{run}: calibration inputs" for run in ("rounded to fp16", "as served")
    ]
    result = export(folder, tmp_path, "--calibration", own)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 < len(report["precision_plans"]["m"]["islands"]) < 10
    assert "rounded to fp16: calibration inputs" in [check["name"] for check in report["parity"]["m"]["checks"]]
