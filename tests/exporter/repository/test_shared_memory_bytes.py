"""What frontends take of /dev/shm is told by their configs, and whoever serves them is warned where there is less."""

import json
from pathlib import Path

import pytest

from hf2triton.core.layout import entries
from hf2triton.repository import shared_memory
from hf2triton.repository.shared_memory import shared_memory_bytes, too_little

MIB = 1 << 20


def config(max_batch_size: int, **settings) -> str:
    value = json.dumps(json.dumps(settings))
    return (
        f'max_batch_size: {max_batch_size}\nparameters {{ key: "hf2triton" value {{ string_value: {value} }} }}\n'
        'backend: "python"\n'
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    texts = config(64, inputs={"text": True}, max_bytes=MIB)
    images = config(8, inputs={"image": True}, max_bytes=32 * MIB)
    for name, text in {"texts": texts, "images": images}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(text)
        (tmp_path / name / "manifest.json").write_text("{}")
    return tmp_path


def test_a_batch_of_small_requests_and_a_large_one_count(repository):
    """Each frontend takes a full batch of 1 MiB each, and the largest request: 4 MiB of texts, or an image of its limit."""
    assert shared_memory_bytes(repository, ["texts"]) == (1 + 64 + 4) * MIB
    assert shared_memory_bytes(repository, ["images"]) == (1 + 8 + 32) * MIB
    assert shared_memory_bytes(repository, entries(repository)) == (69 + 41) * MIB


def test_a_config_that_cannot_be_read_stops_nobody(repository):
    """It is not served either, and the server says why."""
    (repository / "texts" / "config.pbtxt").write_text("max_batch_size: {")
    assert shared_memory_bytes(repository, ["texts", "images", "none"]) == 41 * MIB


def test_too_little_is_told_with_what_to_do(monkeypatch, tmp_path):
    """The size that there is and the one that is needed; nothing is said of what is enough, or cannot be told."""
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path)
    assert too_little(1) is None
    warning = too_little(1 << 60)
    assert "may take 1,099,511,627,776 MiB of it" in warning
    assert "--shm-size=1099511627776m" in warning
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path / "none")
    assert too_little(1 << 60) is None
