"""Recorded baselines survive the disk, and broken ones say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from hf2triton_client import BaselineError
from hf2triton_client.baseline import Baseline, Latency
from hf2triton_client.compare import Tolerance


def make() -> Baseline:
    answers = {"logits": (np.ones((3, 2), np.float32), np.zeros((1, 2), np.float32))}
    tolerance = {"logits": Tolerance(0.1, 0.1, 0.9, 1.0)}
    inputs = {"text": ("ä 😀", "b"), "image": (b"\x89PNG\x00", b"\xff")}
    return Baseline("ner", "fp16", inputs, answers, tolerance, Latency(1.5, 2.5, 9), {"version": 1})


def test_what_is_saved_is_loaded(tmp_path):
    """Texts, files, answers, tolerances and latency come back as they were."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    loaded = Baseline.load(path)
    for ours, theirs in zip(make().answers["logits"], loaded.answers["logits"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (loaded.inputs, loaded.tolerances, loaded.latency) == (make().inputs, make().tolerances, make().latency)
    assert len(loaded) == 2


def test_what_is_not_saved_is_not_there(tmp_path):
    """Answers that only the export compares with leave nothing in the files, their tolerances included."""
    recorded = make()
    answers = {**recorded.answers, "token_ids": (np.arange(3), np.arange(5))}
    tolerances = {**recorded.tolerances, "token_ids": recorded.tolerances["logits"]}
    path, unsaved = tmp_path / "baseline.safetensors", frozenset({"logits"})
    replace(recorded, answers=answers, tolerances=tolerances, unsaved=unsaved).save(path)
    assert {name for name in load_file(path) if "logits" in name} == set()
    assert "logits" not in path.with_suffix(".json").read_text()
    loaded = Baseline.load(path)
    assert (list(loaded.answers), list(loaded.tolerances), loaded.unsaved) == (
        ["token_ids"],
        ["token_ids"],
        frozenset(),
    )
    for ours, theirs in zip(answers["token_ids"], loaded.answers["token_ids"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.inputs == recorded.inputs


def test_a_missing_baseline_names_the_file(tmp_path):
    """The error names what is missing."""
    with pytest.raises(BaselineError, match=r"baseline\.json is missing"):
        Baseline.load(tmp_path / "baseline.safetensors")


def test_a_broken_baseline_is_refused(tmp_path):
    """A truncated tensor file is an error, not a crash."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BaselineError, match="cannot be read"):
        Baseline.load(path)


def test_another_format_is_refused(tmp_path):
    """A file of a later format says which format this version reads."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(BaselineError, match="format 99"):
        Baseline.load(path)
