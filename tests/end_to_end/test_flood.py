"""A server that is asked for far more than it can do: it answers as many as ever, refuses the others soon, and recovers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.serving import Server
from hf2triton_client import connect, pipeline

from ..benchmarks.flooding import Ends, Flood, pace, run

MODEL = "sentiment"
#: As many tokens as the model takes: it is to be the model that is slow, and not the callers.
TEXT = "a film as long as this " * 20
#: Seconds that requests may wait for the model, that their callers wait, and for which they come.
MAX_WAIT, PATIENCE, SECONDS = 1.5, 20.0, 4.0
#: How much more comes than is answered, and how many requests come at once.
TIMES, AT_ONCE = 4, 4000


@pytest.fixture(scope="module")
def served(measured_repository: Path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flood") / "model_repository"
    shutil.copytree(measured_repository / MODEL, folder / MODEL)
    path = folder / MODEL / "config.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    config.parameters["max_wait_seconds"].string_value = str(MAX_WAIT)
    path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")
    with Server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def own_pace(served) -> float:
    """Requests that the model answers in a second."""
    return pace(served.url, MODEL, TEXT, 2.0)


def ended(url: str) -> int:
    """Requests that the model has answered, computed or refused: Triton counts both."""
    with connect(url) as connection:
        return connection.compute_time(MODEL)[0]


def assert_soon_told(ends: Ends, count: int) -> None:
    """Each request has ended, in an answer, or in a refusal that says when to come back, long before its caller gave up; few
    expired."""
    assert ends.others == {}
    assert len(ends.answered) + len(ends.refused) + len(ends.expired) == count
    assert ends.hints == len(ends.refused)
    assert len(ends.refused) > 0
    assert len(ends.expired) <= 0.05 * count
    assert sorted(ends.refused)[len(ends.refused) // 2] < PATIENCE / 2


def assert_as_ever(url: str) -> None:
    with pipeline(model=MODEL, url=url, timeout=60) as classify:
        assert len(classify([TEXT] * 100)) == 100


def test_more_than_the_model_answers_is_refused(served, own_pace):
    """Several times what it can do, for some seconds. It goes on answering about as fast as ever, and computes nothing for those
    who are refused."""
    count = int(TIMES * own_pace * SECONDS)
    before = ended(served.url)
    ends = run(Flood(served.url, MODEL, TEXT, count, TIMES * own_pace, PATIENCE))
    assert_soon_told(ends, count)
    assert len(ends.answered) >= 0.3 * own_pace * SECONDS
    in_vain = ended(served.url) - before - 1 - len(ends.answered) - len(ends.refused)
    assert in_vain <= 0.1 * len(ends.answered) + 64
    assert_as_ever(served.url)


def test_thousands_at_once_are_answered_or_refused(served, own_pace):
    """Within a fraction of the time that all of them would take."""
    ends = run(Flood(served.url, MODEL, TEXT, AT_ONCE, 0.0, PATIENCE))
    assert_soon_told(ends, AT_ONCE)
    assert len(ends.answered) >= MAX_WAIT * own_pace * 0.3
    assert_as_ever(served.url)
