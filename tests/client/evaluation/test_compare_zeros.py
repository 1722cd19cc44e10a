"""Zeros where PyTorch has none, which no NaN check sees, and checks that have nothing to compare with."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton_client.evaluation.compare import MOST_ZEROS, Tolerance, compare, finite

#: Passes whatever is finite and has the same shape.
LOOSE = Tolerance(max_abs=np.inf, mean_abs=np.inf, cosine=-1.0)
SMALLEST_FP16 = 2.0**-24


def compared(reference, candidate):
    pairs = list(zip(np.atleast_2d(reference), np.atleast_2d(candidate), strict=True))
    return compare("embedding", pairs, LOOSE)


def with_zeros(count, rows=10, width=100):
    """Ones, and the same with `count` zeros, spread over the rows."""
    reference = np.ones((rows, width), np.float32)
    candidate = reference.copy()
    candidate.T.flat[:count] = 0
    return reference, candidate


@given(st.integers(2, 50), st.integers(0, 9), st.floats(1e-6, 1e4))
def test_a_vector_of_zeros_is_a_breach(width, row, size):
    """One row of many that came out as nothing but zeros fails, however small it was and however loose the tolerance."""
    reference = np.full((1000, width), size)
    candidate = reference.copy()
    candidate[row] = 0
    difference = compared(reference, candidate)
    assert difference.breaches == (
        f"{width} of {1000 * width} values are 0 where PyTorch's are not, among them 1 whole rows",
    )


def test_a_token_of_zeros_is_a_breach():
    """Outputs per token are vectors of their own: one token's zeros among others fail."""
    reference = np.ones((1, 200, 8))
    candidate = reference.copy()
    candidate[0, 7] = 0
    assert not compare("last_hidden_state", zip(reference, candidate, strict=True), LOOSE).passed


def test_negative_zeros_count_too():
    """-0 is a zero."""
    assert not compared([1.0, 2.0], [-0.0, -0.0]).passed


@pytest.mark.parametrize(("count", "passes"), [(0, True), (1, True), (10, True), (11, False), (500, False)])
def test_more_zeros_than_rounding_explains(count, passes):
    """Up to 1 % of all values may be 0 where PyTorch's are not; one more is a breach."""
    assert MOST_ZEROS == 0.01
    difference = compared(*with_zeros(count))
    assert difference.passed is passes
    if not passes:
        assert f"{count} of 1000 values are 0 where PyTorch's are not" in difference.breaches[0]


def test_zeros_are_counted_over_all_rows():
    """The share is of everything compared, not of the row where the zeros are."""
    reference, candidate = np.ones((10, 100)), np.ones((10, 100))
    candidate[3, :10] = 0
    assert compared(reference, candidate).passed
    assert not compared(reference[3], candidate[3]).passed


@given(st.floats(-SMALLEST_FP16, SMALLEST_FP16))
def test_what_fp16_cannot_tell_from_zero_may_be_zero(size):
    """Values up to the smallest number of fp16 may be lost without notice."""
    assert compared(np.full((3, 4), size), np.zeros((3, 4))).passed


def test_what_fp16_can_tell_from_zero_may_not():
    """Just above that it is a breach."""
    assert not compared(np.full((3, 4), SMALLEST_FP16 * 1.01), np.zeros((3, 4))).passed


def test_zeros_of_pytorch_itself_are_none_of_ours():
    """A row that is zero on both sides agrees, and so do single zeros."""
    reference = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert compared(reference, reference.copy()).passed


def test_a_row_that_lost_its_only_value_is_a_whole_row():
    """A row whose other values are zero in PyTorch too has still become nothing."""
    reference, candidate = np.ones((1000, 3)), np.ones((1000, 3))
    reference[0], candidate[0] = [0, 5, 0], [0, 0, 0]
    assert "among them 1 whole rows" in compared(reference, candidate).breaches[0]


def test_numbers_that_stand_alone_are_no_rows():
    """Of width 1 a zero is one value among many, and only their share counts."""
    reference, candidate = np.ones((200, 1)), np.ones((200, 1))
    candidate[0] = 0
    assert compared(reference, candidate).passed
    candidate[:3] = 0
    assert compared(reference, candidate).breaches == (
        "3 of 200 values are 0 where PyTorch's are not, among them 0 whole rows",
    )


def test_arrays_that_are_finite():
    """Their rows are counted over all arrays; nothing is a breach, zeros neither."""
    difference = finite("logits", [np.ones((2, 3)), np.zeros((1, 3)), np.full((4, 2, 2), 1e38, np.float32)])
    assert difference.passed
    assert (difference.output, difference.rows) == ("logits", 7)
    assert (difference.cosine, difference.argmax) == (None, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_arrays_that_are_not_finite(value, dtype):
    """Each row with a NaN or an infinity counts once, wherever it stands."""
    broken = np.ones((3, 2, 2), dtype)
    broken[1, 0, 1] = broken[1, 1, 1] = broken[2, 1, 0] = value
    difference = finite("logits", [np.ones((5, 2), dtype), broken])
    assert difference.breaches == ("2 of 8 rows hold a NaN or an infinity",)
    assert json.loads(json.dumps(difference.to_json()))["passed"] is False


def test_arrays_without_rows():
    """Nothing was asked: that is no proof."""
    assert not finite("logits", []).passed


def test_a_cosine_without_meaning():
    """Where the tolerance has none, vectors of any direction are compared by size alone."""
    tolerance = Tolerance(max_abs=1.0, mean_abs=1.0, cosine=None)
    difference = compare("span_logits", [(np.array([[0.1, 0.1]]), np.array([[-0.1, 0.1]]))], tolerance)
    assert difference.passed
    assert difference.cosine is None
