"""What the tests of decoders share."""

from __future__ import annotations

import pytest

from hf2triton.core.types import Checkpoint
from hf2triton.tasks.base import Endpoint
from hf2triton_client.evaluation.baseline import Baseline

from .verses import VERSES, load


@pytest.fixture(scope="module")
def verses() -> tuple[Checkpoint, Endpoint]:
    """The trained GPT-2 and the part of its task."""
    return load(VERSES)


@pytest.fixture(scope="module")
def baseline(verses: tuple[Checkpoint, Endpoint]) -> Baseline:
    """What PyTorch generates with it."""
    from hf2triton.parity.decoder_baseline import record_texts

    return record_texts(*verses, "fp32")
