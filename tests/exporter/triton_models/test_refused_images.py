"""Images that are not taken fail alone, before they cost anything, and are told why."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from hf2triton.triton_models.images import FORMATS

from .conftest import CLIP, VIT
from .pictures import chunk, encoded, noise


@pytest.mark.parametrize("workers", [1, 4])
def test_bad_images_fail_alone(workers, encoder_of):
    """In a batch, each image that is not taken has its reason, and the others their pixels."""
    good, bad = encoded(noise(333, 227)), b"no image"
    results = encoder_of(VIT, workers=workers).encode([bad, good, good[:99], good] * 5)
    assert [isinstance(result, ValueError) for result in results] == [True, False, True, False] * 5
    assert encoder_of(VIT).encode([]) == []


def reason(encoder, data):
    [result] = encoder.encode([data])
    assert isinstance(result, ValueError)
    return str(result)


def png_bomb(width, height):
    """A valid greyscale PNG, all black, of one bit a pixel."""
    row, squeeze = bytes(1 + width // 8), zlib.compressobj(9)
    data = b"".join(squeeze.compress(row * 500) for _ in range(height // 500)) + squeeze.flush()

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_bomb():
    """A GIF of one pixel with a far larger frame."""
    small = encoded(noise(1, 1).quantize(2), "GIF")
    frame = small.index(b",", 13)
    return small[: frame + 5] + struct.pack("<HH", 65535, 65535) + small[frame + 9 :]


@pytest.fixture
def never_decoded(monkeypatch):
    """Decoding anything fails the test."""

    def load(self):
        pytest.fail("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def test_bombs_are_refused_unread(encoder_of, never_decoded):
    """The header of a small file with huge contents is enough to refuse it, and the limit is named."""
    bomb = png_bomb(30_000, 30_000)
    assert len(bomb) < 300_000
    encoder = encoder_of(VIT, max_pixels=50_000_000)
    assert reason(encoder, bomb) == (
        "the image is 30,000 x 30,000 pixels, 900,000,000 in all; at most 50,000,000 are taken"
    )
    assert "at most 50,000,000 are taken" in reason(encoder, gif_bomb())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_pillows_own_limit_is_not_the_limit(format, encoder_of, monkeypatch):
    """What the explicit limit allows is decoded, without a warning, whatever Pillow's own limit is.

    Its readers of WebP and TIFF insist on theirs, 179 million pixels, as well.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [pixels] = encoder_of(VIT, max_pixels=60_000).encode([encoded(noise(300, 200), format)])
    assert isinstance(pixels, np.ndarray)


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_are_counted_in_every_format(format, encoder_of, never_decoded):
    """One pixel too many is refused by the header, with the width, the height and the limit."""
    data = encoded(noise(300, 200), format)
    assert reason(encoder_of(VIT, max_pixels=59_999), data) == (
        "the image is 300 x 200 pixels, 60,000 in all; at most 59,999 are taken"
    )


def test_extreme_shapes_are_limited_when_resized(encoder_of):
    """A thin image becomes huge where its shortest edge decides; that is told before it happens."""
    encoder = encoder_of(CLIP, max_pixels=1_000_000)
    assert reason(encoder, encoded(noise(1, 2000))) == (
        "the image, 1 x 2,000 pixels, would be resized to 224 x 448,000, 100,352,000 in all; at most 1,000,000 are taken"
    )


def test_too_many_bytes(encoder_of):
    """A file beyond the limit is refused whatever it holds."""
    assert reason(encoder_of(VIT, max_bytes=1000), bytes(1001)) == "the image has 1,001 bytes; at most 1,000 are taken"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"hello " * 99, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", bytes(4096)],
    ids=["empty", "a byte", "text", "SVG", "PDF", "zeros"],
)
def test_other_files(data, encoder_of):
    """What is no image of a format that is taken is told which are."""
    message = reason(encoder_of(VIT), data)
    assert message == "this is not an image in a format that is taken: JPEG, PNG, WEBP, GIF, BMP, TIFF"


def test_formats_beyond_the_list(encoder_of):
    """Formats that Pillow reads and the list does not name are refused: each is a parser more to attack."""
    for format in ("PPM", "ICO", "TGA", "PCX"):
        assert "in a format that is taken" in reason(encoder_of(VIT), encoded(noise(16, 16), format))


@pytest.mark.parametrize("format", FORMATS)
def test_broken_files(format, encoder_of):
    """A file that ends early, anywhere, is told to be unreadable, never half an image."""
    whole = encoded(noise(60, 50), format)
    encoder = encoder_of(VIT)
    for length in {16, 30, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10}:
        assert f"cannot be read as {format}" in reason(encoder, whole[:length])


@given(st.sampled_from(list(FORMATS)), st.data())
def test_damaged_files(encoder_of, format, data):
    """Whatever a file's bytes are changed to, the answer is pixels or a reason."""
    whole = bytearray(encoded(noise(20, 10), format))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    [result] = encoder_of(VIT, max_pixels=1_000_000).encode([bytes(whole)])
    assert isinstance(result, ValueError) or result.shape == (3, 224, 224)


def test_an_image_that_would_vanish(encoder_of):
    """An image so narrow that its short edge is rounded to nothing is told so, where Pillow would fail."""
    message = reason(encoder_of(VIT | {"size": {"max_height": 30, "max_width": 30}}), encoded(noise(200, 2)))
    assert message == "the image, 200 x 2 pixels, would be resized to 30 x 0"
