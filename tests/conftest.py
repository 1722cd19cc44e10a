"""Fixtures: checkpoints, a repository exported from them once a session, and a real server on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# nothing here may reach out; set before huggingface_hub is imported
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("shared-machine", deadline=None, max_examples=60)
settings.load_profile("shared-machine")

from hf2triton.artifacts import ExportOptions  # noqa: E402

from .support import ASSETS  # noqa: E402

FAMILIES = ("bert", "distilbert")
#: What is exported of each family: task -> the checkpoint it is made from.
CHECKPOINTS = {
    "text-classification": "sentiment",
    "token-classification": "ner",
    "feature-extraction": "sentiment",
    "sentence-similarity": "ner",
}


def entry_name(family: str, task: str, precision: str, runner: str = "inprocess") -> str:
    return f"{family}-{task}-{precision}" + ("-bls" if runner == "bls" else "")


def asset(family: str, task: str) -> Path:
    """The trained checkpoint that a family's task is exported from."""
    return ASSETS / f"{family}-{CHECKPOINTS[task]}"


def export_asset(repository: Path, family: str, task: str, precision: str, **options: object):
    """Exports one of the trained checkpoints under its `entry_name`, unless `name` is given."""
    from hf2triton.pipeline import export

    runner = options.get("runner", "inprocess")
    options = {"name": entry_name(family, task, precision, runner), **options}
    source = str(asset(family, task))
    return export(ExportOptions(source, task=task, precision=precision, repository=repository, **options))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every task of every family in both precisions, and one entry with the runner bls."""
    folder = tmp_path_factory.mktemp("session") / "model_repository"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for family in FAMILIES:
            for task in CHECKPOINTS:
                for precision in ("fp32", "fp16"):
                    export_asset(folder, family, task, precision)
        export_asset(folder, "bert", "token-classification", "fp16", runner="bls")
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator:
    """A real server on the session's repository. Tests that stop or break it start their own."""
    from hf2triton.serving import Server

    with Server(repository) as running:
        yield running


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the demo's model, all-MiniLM-L6-v2, as `hf2triton demo` exports it."""
    from hf2triton.demo import NAME, weights
    from hf2triton.pipeline import export

    folder = tmp_path_factory.mktemp("minilm") / "model_repository"
    export(ExportOptions(str(weights()), NAME, repository=folder))
    return folder
