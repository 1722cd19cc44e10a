"""What the tests of decoders share."""

from __future__ import annotations

import pytest

from hf2triton.artifacts import Checkpoint
from hf2triton.tasks import Part
from hf2triton_client.baseline import Baseline

from .verses import VERSES, load


@pytest.fixture(scope="module")
def verses() -> tuple[Checkpoint, Part]:
    """The trained GPT-2 and the part of its task."""
    return load(VERSES)


@pytest.fixture(scope="module")
def baseline(verses: tuple[Checkpoint, Part]) -> Baseline:
    """What PyTorch generates with it."""
    from hf2triton.decoder_baseline import record_texts

    return record_texts(*verses, "fp32")
