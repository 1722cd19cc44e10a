"""Fixtures: image processors, and the encoder that the frontend has in their place."""

import json

import numpy as np
import pytest

from hf2triton.checkpoint.image_processor import read_image_spec, reference_pixels
from hf2triton.triton_models.images import ImageEncoder

#: The settings of a processor that says no more than what it is.
VIT, CLIP = {"image_processor_type": "ViTImageProcessor"}, {"image_processor_type": "CLIPImageProcessor"}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """A checkpoint's folder with a processor of these settings."""
    folders = {}

    def folder(settings):
        written = json.dumps(settings)
        if written not in folders:
            folders[written] = tmp_path_factory.mktemp("processor")
            (folders[written] / "preprocessor_config.json").write_text(written)
        return folders[written]

    return folder


@pytest.fixture(scope="session")
def encoder_of(folder_of):
    """An encoder of these settings, whose spec went through JSON as it does in an entry."""

    def encoder(settings, max_bytes=1 << 26, max_pixels=150_000_000, workers=2):
        return ImageEncoder(
            json.loads(json.dumps(read_image_spec(folder_of(settings)))), max_bytes, max_pixels, workers
        )

    return encoder


@pytest.fixture(scope="session")
def assert_same_pixels(folder_of, encoder_of):
    """The encoder's pixels are the processor's, bit for bit."""

    def check(settings, files):
        for expected, actual in zip(
            reference_pixels(folder_of(settings), files), encoder_of(settings).encode(files), strict=True
        ):
            assert isinstance(actual, np.ndarray), actual
            assert actual.dtype == np.float32
            np.testing.assert_array_equal(actual, expected)

    return check
