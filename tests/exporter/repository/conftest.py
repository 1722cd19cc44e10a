"""Entries that are looked at by several files of tests."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from ...conftest import _made_once, export_asset
from .entries import SHAPES, export

#: name -> family, task, precision and options: a frontend that holds its graph, two with it behind them, and one that generates.
ENTRIES = {
    "plain": ("bert", "text-classification", "fp16", {}),
    "gpu": ("bert", "text-classification", "fp16", {"device": "cuda", "runner": None, "release": "26.08"}),
    "trt": ("vit", "image-classification", "fp32", {"device": "tensorrt", "runner": None, "release": "26.08"}),
    "verses": ("gpt2", "text-generation", "fp32", {}),
}


@pytest.fixture(scope="session")
def assorted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the ENTRIES, as they are exported. Tests that change it copy it."""

    def make(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, (family, task, precision, options) in ENTRIES.items():
                export_asset(folder, family, task, precision, name=name, **options)

    return _made_once(tmp_path_factory, "assorted", make)


@pytest.fixture(scope="module")
def sources(staged, tmp_path_factory):
    """shape -> two repositories whose version 1 of it is not the same, told apart by their size: 32 and 16."""
    found = {}
    for shape in SHAPES:
        found[shape] = [tmp_path_factory.mktemp(shape) / "models" for _ in range(2)]
        for repository, size in zip(found[shape], (32, 16), strict=True):
            export(staged, repository, shape, size)
    return found
