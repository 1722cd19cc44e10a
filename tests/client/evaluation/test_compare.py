"""The metrics of parity: what passes, what does not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf2triton_client.evaluation.compare import Greedy, Tolerance, compare, compare_greedy

STRICT = Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.999, argmax=1.0)
matrices = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-10, 10, width=32))


@given(matrices)
def test_equal_tensors_pass(rows):
    """A tensor compared with itself has no difference and full agreement."""
    difference = compare("logits", [(row, row) for row in rows], STRICT)
    assert difference.passed
    assert (difference.max_abs, difference.mean_abs, difference.argmax) == (0, 0, 1)
    assert difference.cosine == pytest.approx(1)


@given(matrices, st.integers(0, 5), st.floats(0.01, 5))
def test_one_wrong_number_is_found(rows, row, size):
    """A single value that is off by more than the tolerance is a breach, wherever it stands."""
    wrong = rows.copy()
    wrong[row % len(rows), 0] += np.float32(size)
    difference = compare("logits", list(zip(rows, wrong, strict=True)), STRICT)
    assert not difference.passed
    assert difference.max_abs == pytest.approx(size, rel=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_breaches(value):
    """NaN never passes by comparing false."""
    difference = compare("logits", [(np.ones(3), np.array([1, 1, value]))], STRICT)
    assert not difference.passed
    assert "NaN or an infinity" in difference.breaches[0]


def test_silent_zeros_are_breaches():
    """An output that has become zero fails by its cosine, however loose the differences."""
    loose = Tolerance(max_abs=10, mean_abs=10, cosine=0.9)
    assert not compare("embedding", [(np.full(4, 0.01), np.zeros(4))], loose).passed


def test_a_wrong_shape_is_a_breach():
    """Rows of another length are named, with both shapes."""
    difference = compare("logits", [(np.ones((4, 2)), np.ones((3, 2)))], STRICT)
    assert difference.breaches == ("row 0 has shape [3, 2], PyTorch gives [4, 2]",)


def test_nothing_to_compare_is_a_breach():
    """An empty comparison proves nothing and does not pass."""
    assert not compare("logits", [], STRICT).passed


def test_a_flip_between_equals_agrees():
    """Where PyTorch's two best lie within the tolerance, either may win; beyond it, a flip is a breach."""
    loose = Tolerance(max_abs=0.1, mean_abs=0.1, cosine=0.9, argmax=1.0)
    near = compare("logits", [(np.array([1.0, 1.05]), np.array([1.05, 1.0]))], loose)
    assert near.passed
    far = compare("logits", [(np.array([1.0, 1.3]), np.array([1.3, 1.0]))], loose)
    assert far.argmax == 0


LOOSE = Tolerance(max_abs=0.1, mean_abs=0.01, cosine=0.9, argmax=1.0)


def greedy(tokens=(5, 7, 9), margins=(1.0, 0.05, 1.0)) -> Greedy:
    """At each step the token itself, then 100, behind it by the step's margin, then 101 far behind."""
    top_ids = np.array([[token, 100, 101] for token in tokens])
    top_logits = np.array([[-3.0, -3.0 - margin, -9.0] for margin in margins], np.float32)
    return Greedy(np.array(tokens), top_ids, top_logits)


def test_the_same_texts_agree():
    """Nothing differs, nothing is remarked, whatever the margins are; also where the served tokens are of another type."""
    difference = compare_greedy("token_ids", [(greedy(), np.array([5, 7, 9], np.int32))] * 3, LOOSE)
    assert difference.passed
    assert (difference.max_abs, difference.mean_abs, difference.argmax, difference.cosine) == (0, 0, 1, None)
    assert (difference.rows, difference.remark) == (3, "")


def test_a_near_tie_is_remarked_and_no_breach():
    """Where PyTorch itself hardly preferred its token, the text may go on with the other one, wherever that leads."""
    difference = compare_greedy(
        "token_ids", [(greedy(), np.array([5, 100, 42])), (greedy(), np.array([5, 7, 9]))], LOOSE
    )
    assert difference.passed
    assert (difference.max_abs, difference.mean_abs) == (pytest.approx(0.05), pytest.approx(0.025))
    assert difference.argmax == 0.5
    assert difference.remark == "text 0 is another from token 1 on, where PyTorch prefers its own by 0.05"


@pytest.mark.parametrize(
    ("served", "where", "margin"),
    [
        ([100, 7, 9], 0, "1"),
        ([5, 7, 100], 2, "1"),
        ([5, 101, 9], 1, "6"),
        ([5, 42, 9], 1, "inf"),
        ([5, 7], 2, "inf"),
        ([5, 7, 9, 9], 3, "inf"),
        ([], 0, "inf"),
    ],
)
def test_another_text_is_a_breach(served, where, margin):
    """A token that PyTorch would not have chosen, or a text that ends early or late, is named with where it is."""
    difference = compare_greedy("token_ids", [(greedy(), np.array([5, 7, 9])), (greedy(), np.array(served))], LOOSE)
    assert not difference.passed
    assert difference.breaches == (
        f"text 1 is another from token {where} on, where PyTorch prefers its own by {margin}, which is above 0.1",
    )
    assert (difference.max_abs, difference.argmax) == (float(margin), 0.5)


def test_an_exact_tie_is_another_text():
    """PyTorch preferred neither, so that nothing is wrong, but the texts are not the same."""
    difference = compare_greedy("token_ids", [(greedy(margins=(0.0, 1.0, 1.0)), np.array([100, 1, 2]))], STRICT)
    assert difference.passed
    assert (difference.max_abs, difference.argmax) == (0, 0)
    assert "text 0 is another from token 0 on" in difference.remark


def test_more_ties_than_are_recorded():
    """A model whose logits are all the same chose a token that is perhaps none of those recorded."""
    flat = Greedy(np.array([50]), np.array([[3, 4, 5]]), np.zeros((1, 3), np.float32))
    assert compare_greedy("token_ids", [(flat, np.array([4]))], STRICT).passed
    assert not compare_greedy("token_ids", [(flat, np.array([6]))], STRICT).passed


def test_what_comes_after_the_first_difference_does_not_count():
    """Only the first: later tokens follow another text."""
    difference = compare_greedy("token_ids", [(greedy(margins=(0.05, 9.0, 9.0)), np.array([100, 101, 101]))], LOOSE)
    assert difference.passed
    assert difference.max_abs == pytest.approx(0.05)


@pytest.mark.parametrize("logit", [np.nan, -np.inf])
def test_a_margin_that_is_no_number_is_a_breach(logit):
    """NaN never passes by comparing false."""
    broken = greedy()
    broken.top_logits[1, 1] = logit
    assert not compare_greedy("token_ids", [(broken, np.array([5, 100, 9]))], LOOSE).passed


def test_no_texts_prove_nothing():
    """An empty comparison is a breach."""
    assert compare_greedy("token_ids", [], LOOSE).breaches == ("nothing to compare",)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_a_text_passes_where_the_first_difference_is_a_near_tie(tokens, data):
    """Whatever the texts and the margins: the margin at the first difference alone decides."""
    margins = data.draw(
        st.lists(st.sampled_from([0.0, 0.05, 0.09, 0.2, 3.0]), min_size=len(tokens), max_size=len(tokens))
    )
    served = [data.draw(st.sampled_from([token, 100])) for token in tokens]
    difference = compare_greedy("token_ids", [(greedy(tokens, margins), np.array(served))], LOOSE)
    first = next((index for index, token in enumerate(served) if token != tokens[index]), None)
    assert difference.passed == (first is None or margins[first] < 0.1)
    assert difference.argmax == (first is None)
    assert difference.max_abs == pytest.approx(0 if first is None else margins[first], abs=1e-6)


def test_reports_are_strict_json():
    """An infinite difference is null there."""
    report = compare("logits", [(np.ones(3), np.array([1, 1, np.inf]))], STRICT).to_json()
    assert report["max_abs"] is None
    assert not report["passed"]
    json.dumps(report, allow_nan=False)
