"""Fixtures that several folders share: a decoder, and entries that are looked at."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from hf2triton.core.types import Checkpoint
from hf2triton.tasks.base import Endpoint
from hf2triton_client.evaluation.baseline import Baseline

from ..conftest import export_asset, made_once
from .entries import SHAPES, export
from .verses import VERSES, load

#: name -> family, task, precision and options: a frontend that holds its graph, two with it behind them, and one that generates.
ENTRIES = {
    "plain": ("bert", "text-classification", "fp16", {}),
    "gpu": ("bert", "text-classification", "fp16", {"device": "cuda", "runner": None, "release": "26.08"}),
    "trt": ("vit", "image-classification", "fp32", {"device": "tensorrt", "runner": None, "release": "26.08"}),
    "verses": ("gpt2", "text-generation", "fp32", {}),
}


@pytest.fixture(scope="module")
def verses() -> tuple[Checkpoint, Endpoint]:
    """The trained GPT-2 and the part of its task."""
    return load(VERSES)


@pytest.fixture(scope="module")
def baseline(verses: tuple[Checkpoint, Endpoint]) -> Baseline:
    """What PyTorch generates with it."""
    from hf2triton.parity.decoder_baseline import record_texts

    return record_texts(*verses, "fp32")


@pytest.fixture(scope="session")
def assorted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the ENTRIES, as they are exported. Tests that change it copy it."""

    def make(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, (family, task, precision, options) in ENTRIES.items():
                export_asset(folder, family, task, precision, name=name, **options)

    return made_once(tmp_path_factory, "assorted", make)


@pytest.fixture(scope="module")
def sources(staged, tmp_path_factory):
    """shape -> two repositories whose version 1 of it is not the same, told apart by their size: 32 and 16."""
    found = {}
    for shape in SHAPES:
        found[shape] = [tmp_path_factory.mktemp(shape) / "models" for _ in range(2)]
        for repository, size in zip(found[shape], (32, 16), strict=True):
            export(staged, repository, shape, size)
    return found
