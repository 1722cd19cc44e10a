"""The metrics of parity: what passes, what does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf2triton_client.compare import Tolerance, compare

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
