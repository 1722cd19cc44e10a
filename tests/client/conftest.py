"""A server and a pipeline for the tests of streams."""

import gc

import pytest

from hf2triton_client import pipeline

from .fake_triton import NAME, FakeTriton
from .stream_script import SLOTS, script


@pytest.fixture
def sought_briefly(monkeypatch):
    """A model that is not there any more is not looked for for seconds."""
    monkeypatch.setattr("hf2triton_client.transport.retries.SEEKING", 0.2)


@pytest.fixture
def triton():
    with FakeTriton(script, slots=SLOTS) as running:
        yield running


@pytest.fixture
def pipe(triton):
    with pipeline(model=NAME, url=triton.url, timeout=60, return_full_text=False) as opened:
        yield opened


@pytest.fixture
def no_garbage_collection():
    """What is freed is freed since nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
