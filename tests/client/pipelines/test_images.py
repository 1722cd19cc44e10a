"""Images as callers have them become files that a server can read."""

import io

import numpy as np
import pytest
from PIL import Image

from hf2triton_client.errors import InputError
from hf2triton_client.pipelines.images import images_of

VALUES = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize("array", [VALUES[:, :, 0], VALUES[:, :, :1]], ids=["no channel", "one channel"])
def test_grey_arrays(array):
    """An array with one channel, or none, is sent as the grey image that it is."""
    [data], single = images_of(array)
    assert single
    sent = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    np.testing.assert_array_equal(sent, VALUES[:, :, 0])


@pytest.mark.parametrize(
    "array", [VALUES[:, :, :2], VALUES.astype(np.float32), VALUES[0, 0]], ids=["two", "floats", "flat"]
)
def test_arrays_that_are_no_image(array):
    """Arrays of another shape or type are refused with both."""
    with pytest.raises(InputError, match=rf"array of {array.dtype} .*{array.shape[-1]}\]"):
        images_of(array)
