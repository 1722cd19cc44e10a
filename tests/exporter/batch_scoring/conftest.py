"""A real server with a small model for texts and one for images, for all tests of scoring."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hf2triton.batch_scoring import ScoreOptions, Summary, score
from hf2triton_client import pipeline

from ...conftest import asset, export_asset, made_once
from ...support import sample_of

#: Rows of the input that most tests use.
ROWS = 30


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address. `sentiment` classifies texts, `clothes` images."""
    from hf2triton.serving import Server

    def make(folder: Path) -> None:
        export_asset(folder, "bert", "text-classification", "fp32", name="sentiment")
        export_asset(folder, "vit", "image-classification", "fp32", name="clothes")

    with Server(made_once(tmp_path_factory, "scoring", make)) as server:
        yield server.url


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    """Real texts with an id that is no number of a row, and a column to be kept."""
    sample = sample_of(asset("bert", "text-classification"))[:ROWS]
    return [{"id": f"row {index * 7}", **row} for index, row in enumerate(sample)]


@pytest.fixture(scope="session")
def answers(url: str, rows: list[dict]) -> list[dict]:
    """What the pipeline answers, each text asked on its own."""
    with pipeline(model="sentiment", url=url) as classify:
        return [classify([row["text"]])[0] for row in rows]


@pytest.fixture
def table(tmp_path: Path, rows: list[dict]) -> Path:
    return write_lines(tmp_path / "input.jsonl", rows)


@pytest.fixture
def run(url: str, tmp_path: Path) -> Callable[..., Summary]:
    """Scores an input with `sentiment`, unless another name is given."""

    def run(
        source: Path, output: Path, name: str = "sentiment", progress=lambda done, total: None, **options
    ) -> Summary:
        where = options.pop("url", url)
        return score(
            ScoreOptions(name, source, output, **{"shard_size": 8, "batch_size": 4, **options}), where, progress
        )

    return run


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
