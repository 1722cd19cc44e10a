"""The part of a resized image that is computed alone is the one that Pillow's whole resize has there, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf2triton.triton_models.resample import FILTERS, resized_part

from .pictures import noise

#: A short edge and a long one, or two short ones.
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 60) | st.integers(1, 1500)).flatmap(st.permutations)
FACTORS = st.just(1.0) | st.floats(1, 12)


def assert_same_part(image, size, resample, box):
    expected = image.resize(size, resample).crop(box)
    actual = resized_part(image, size, resample, box)
    assert (actual.mode, actual.size) == (expected.mode, expected.size)
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


@given(
    SIZES,
    st.tuples(FACTORS, FACTORS),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from(list(FILTERS)),
    st.sampled_from(["RGB", "L"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_middle_of_every_size(size, factors, crop, resample, mode, extreme, seed):
    """Whichever the shape, the factor of either edge, the crop, the filter and the mode; of noise, and of black and white alone,
    where filters go beyond a byte."""
    width, height = size
    image = noise(width, height, mode, seed)
    if extreme:
        image = image.point(lambda value: 255 * (value > 127))
    larger = tuple(max(edge, int(edge * factor)) for edge, factor in zip(size, factors, strict=True))
    if larger[0] * larger[1] > 1_000_000:
        larger = (larger[0], height) if larger[0] * height <= 1_000_000 else (width, height)
    left, top = ((edge - kept) // 2 for edge, kept in zip(larger, crop, strict=True))
    assert_same_part(image, larger, resample, (left, top, left + crop[0], top + crop[1]))


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    "box",
    [(0, 0, 30, 20), (170, 100, 200, 120), (0, 0, 200, 120), (63, 0, 64, 1), (-9, -9, 5, 5), (190, 110, 230, 150)],
    ids=["the beginning", "the end", "all", "a pixel", "before it", "beyond it"],
)
def test_parts_at_the_edges(resample, box):
    """Where the filter finds fewer pixels than it reaches for; outside of the image it is black."""
    assert_same_part(noise(17, 9), (200, 120), resample, box)


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("size", [(32, 96_000), (32, 3000), (1, 6000)], ids=["both", "the width", "the height"])
def test_a_thin_image(resample, size):
    """As images are that become huge: enlarged along both edges, or along one of them."""
    image = noise(1, 3000)
    top = size[1] // 2
    assert_same_part(image, size, resample, (0, top, size[0], top + 32))
    turned = image.transpose(Image.Transpose.ROTATE_90)
    assert_same_part(turned, size[::-1], resample, (top, 0, top + 32, size[0]))
