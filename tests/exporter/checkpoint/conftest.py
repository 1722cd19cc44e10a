"""Fixtures: an adapter, and a copy of it that a test may change."""

import shutil
from pathlib import Path

import peft
import pytest

from .adapters import BERT, build, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A LoRA on BERT's queries and values with a head of three labels; tests that change it copy it."""
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"])
    return train(tmp_path_factory.mktemp("trained") / "adapter", build(BERT), config)


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "adapter"))
