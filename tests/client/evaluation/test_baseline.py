"""Recorded baselines survive the disk, and broken ones say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from hf2triton_client import BaselineError
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.questions import Questions
from hf2triton_client.evaluation.validate import DRAWN, _scatter, near_ties


def make() -> Baseline:
    answers = {"logits": (np.ones((3, 2), np.float32), np.zeros((1, 2), np.float32))}
    tolerance = {"logits": Tolerance(0.1, 0.1, 0.9, 1.0)}
    inputs = {"text": ("ä 😀", "b"), "image": (b"\x89PNG\x00", b"\xff")}
    return Baseline("ner", "fp16", inputs, answers, tolerance, {"version": 1})


def test_what_is_saved_is_loaded(tmp_path):
    """Texts, files, answers and tolerances come back as they were."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    loaded = Baseline.load(path)
    for ours, theirs in zip(make().answers["logits"], loaded.answers["logits"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (loaded.inputs, loaded.tolerances, loaded.about) == (make().inputs, make().tolerances, make().about)
    assert len(loaded) == 2


def test_a_baseline_of_before_is_read(tmp_path):
    """Earlier versions also recorded how long PyTorch took, which is nothing to compare with at another moment."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    about = path.with_suffix(".json")
    written = json.loads(about.read_text())
    assert "latency" not in written
    about.write_text(json.dumps({**written, "latency": {"p50_ms": 105.0, "p90_ms": 120.0, "calls": 9}}))
    assert Baseline.load(path).inputs == make().inputs


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


#: Of each task's shape: inputs, labels, options of each.
QUESTIONS = {
    "texts": Questions(("ä 😀", "b"), {"top_k": None}, answers=([{"label": "P", "score": 0.5}], []), labels=("P", 1)),
    "pairs": Questions(({"question": "q", "context": "c"},), answers=(None,), labels=([],)),
    "words": Questions(("a b",), {"aggregation_strategy": "first"}, labels=(["O", "B-PER"],)),
    "candidates": Questions(("a",), each=({"candidate_labels": ["x", "y"]},), labels=("x",)),
    "scored texts": Questions(("a",), method="logprobs", answers=([-1.5, -0.25],)),
    "images": Questions((b"\xff", b"\x89PNG\x00", b"\xff"), answers=([], [], []), labels=("x", "y", "x")),
    "none": Questions(()),
}


@pytest.mark.parametrize("questions", [*QUESTIONS.values(), None], ids=[*QUESTIONS, "no questions"])
def test_questions_are_saved_with_the_items(tmp_path, questions):
    """Whatever their shape; images lie among the tensors once, and come back in the order of the questions."""
    path = tmp_path / "baseline.safetensors"
    replace(make(), questions=questions).save(path)
    assert Baseline.load(path).questions == questions
    assert len([name for name in load_file(path) if name.startswith("image.")]) == 2


def test_a_baseline_without_questions_is_read(tmp_path):
    """As earlier versions wrote it."""
    path = tmp_path / "baseline.safetensors"
    make().save(path)
    description = json.loads(path.with_suffix(".json").read_text())
    del description["questions"], description["other_tolerances"]
    path.with_suffix(".json").write_text(json.dumps(description))
    loaded = Baseline.load(path)
    assert (loaded.questions, loaded.others) == (None, {})


def test_tolerances_of_other_precisions_are_kept(tmp_path):
    """A model in one of them is compared with those; of one that there is none for, the known ones are told."""
    path = tmp_path / "baseline.safetensors"
    other = {"logits": Tolerance(0.5, 0.3, None), "unsaved": Tolerance(9, 9, 9)}
    recorded = make()
    arrays = {**recorded.answers, "unsaved": recorded.answers["logits"]}
    replace(
        recorded,
        answers=arrays,
        tolerances={**recorded.tolerances, "unsaved": other["unsaved"]},
        others={"int8": other},
        unsaved=frozenset({"unsaved"}),
    ).save(path)
    loaded = Baseline.load(path)
    assert loaded.others == {"int8": {"logits": other["logits"]}}
    assert loaded.within("fp16") is loaded
    own = loaded.within("int8")
    assert (own.precision, own.tolerances, own.answers) == ("int8", {"logits": other["logits"]}, loaded.answers)
    with pytest.raises(BaselineError, match="for models in fp16, int8, and the served one is in fp32"):
        loaded.within("fp32")


def tied(output, arrays, inputs, questions, limit=0.1):
    """Which questions are near ties."""
    arrays = tuple(np.array(array, np.float32) for array in arrays)
    tolerance = {output: Tolerance(limit, limit, None)}
    return near_ties(
        replace(make(), answers={output: arrays}, tolerances=tolerance, inputs=inputs, questions=questions)
    )


AB, ASKED = {"text": ("a", "b")}, Questions(("a", "b"))


@pytest.mark.parametrize(
    ("output", "arrays", "expected"),
    [
        ("logits", [[1, 3, 2.95], [1, 3, 2]], [True, False]),
        ("logits", [[[5, 1], [1, 1.05]], [[5, 1], [1, 2]]], [True, False]),  # any token
        ("logits", [[1], [2]], [False, False]),  # a single label has no rival
        ("span_logits", [[[3, 9], [2.95, 1]], [[3, 9], [1, 8.95]]], [True, True]),  # a beginning, an end
        ("span_logits", [[[3, 3.01], [1, 1.01]], [[3, 9]]], [False, False]),  # which are no rivals of each other
        ("top_logits", [[[5, 4], [3, 2.99]], [[5, 4]]], [True, False]),
        ("embedding", [[1, 1], [1, 1]], None),
    ],
)
def test_near_ties_are_those_of_the_tensors(output, arrays, expected):
    """Where the two best entries of any vector lie closer than the tolerance."""
    assert tied(output, arrays, AB, ASKED) == expected


@pytest.mark.parametrize(
    ("inputs", "questions", "expected"),
    [
        (AB, None, None),
        (AB, Questions(("a",)), [True]),
        (AB, Questions(("b", "a")), [False, True]),
        (AB, Questions(("c",)), None),
        (AB, Questions(("a", "b"), method="logprobs"), None),
        (AB, Questions(("a", "b", "c")), [True, False, True]),  # nothing is known of the third
        (
            {"text": ("q", "q"), "text_pair": ("c", "d")},
            Questions(({"question": "q", "context": "c"},) * 2),
            [True] * 2,
        ),
        (
            {"text": ("q", "q"), "text_pair": ("c", "d")},
            Questions(({"question": "q", "context": "c"}, {"question": "q", "context": "d"})),
            [True, False],
        ),
        ({"text_input": ("a", "b"), "sampling_parameters": ("{}", "{}")}, ASKED, [True, False]),
        ({"image": (b"a", b"b")}, Questions((b"a", b"b")), [True, False]),
    ],
)
def test_near_ties_are_of_questions_about_the_items(inputs, questions, expected):
    """Whatever they consist of and in which order; those whose tensors are not recorded are open."""
    assert tied("logits", [[1, 1], [1, 2]], inputs, questions) == expected


def test_values_to_be_drawn_are_evenly_chosen():
    """From the first to the last, in pairs; arrays that have another shape have none."""
    expected = [np.arange(4000, dtype=np.float32).reshape(4, 1000), np.ones((2, 2)), np.array([5.0])]
    served = [array + 1 for array in expected]
    served[1] = np.ones((3, 2))
    drawn = _scatter("logits", expected, served)
    assert (drawn.output, len(drawn.pytorch), len(drawn.served)) == ("logits", DRAWN, DRAWN)
    assert (drawn.pytorch[0], drawn.pytorch[-1]) == (0.0, 5.0)
    assert [one + 1 for one in drawn.pytorch] == list(drawn.served)
    assert set(np.diff(drawn.pytorch[:-1])) == {8.0, 9.0}
    assert _scatter("x", expected[2:], served[2:]).served == (6.0,)
    assert _scatter("x", expected[1:2], served[1:2]).pytorch == ()
    assert _scatter("x", [np.zeros((0, 2))], [np.zeros((0, 2))]).pytorch == ()
