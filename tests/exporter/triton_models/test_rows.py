"""A call that fails is repeated for fewer rows, so that only those fail that cannot be run."""

from __future__ import annotations

import json
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.serving import Server
from hf2triton.triton_models import rows as rows_module
from hf2triton.triton_models.rows import Busy, each_row
from hf2triton_client import pipeline
from hf2triton_client.errors import ClientError

from ...conftest import export_asset


class Calls:
    """Counts the calls; one with a guilty row in it fails, and says which."""

    def __init__(self, guilty, error=RuntimeError, seconds=0.0):
        self.guilty, self.error, self.seconds, self.made = set(guilty), error, seconds, []

    def __call__(self, start, stop):
        self.made.append((start, stop))
        if found := sorted(self.guilty & set(range(start, stop))):
            time.sleep(self.seconds)
            raise self.error(f"rows {found}")
        return [f"row {row}" for row in range(start, stop)]


@given(st.integers(0, 70), st.sets(st.integers(0, 69)))
def test_only_the_guilty_fail(count, guilty):
    """Each has its own error, all others their result, and a few guilty ones cost few calls."""
    guilty = {row for row in guilty if row < count}
    call = Calls(guilty)
    results = each_row(call, count)
    assert [str(result) for result in results] == [
        f"rows [{row}]" if row in guilty else f"row {row}" for row in range(count)
    ]
    assert [isinstance(result, RuntimeError) for result in results] == [row in guilty for row in range(count)]
    assert len(call.made) <= 1 + 2 * len(guilty) * math.ceil(math.log2(max(count, 2)))
    assert guilty or len(call.made) == min(count, 1)


def test_a_call_of_one_row_is_not_repeated():
    """There is nobody to be told apart."""
    call = Calls({0})
    each_row(call, 1)
    assert call.made == [(0, 1)]


def test_too_many_rows_at_once_are_run_in_parts():
    """As where memory does not suffice for all: nobody fails."""

    def call(start, stop):
        if stop - start > 4:
            raise MemoryError
        return range(start, stop)

    assert each_row(call, 64) == list(range(64))


def test_a_server_that_takes_no_calls_is_not_asked_again():
    """Its queue is full, or it does not serve the model: more calls would not help anybody."""
    call = Calls(range(64), Busy)
    assert all(isinstance(result, Busy) for result in each_row(call, 64))
    assert len(call.made) == 1


def test_a_device_that_hangs_is_not_waited_for_again_and_again(monkeypatch):
    """Repetitions may take as long to fail as the call itself, and no longer."""
    monkeypatch.setattr(rows_module, "PATIENCE", 0.01)
    call = Calls(range(64), seconds=0.05)
    assert all(isinstance(result, RuntimeError) for result in each_row(call, 64))
    assert len(call.made) <= 4


def test_a_panic_fails_its_own_row():
    """Rust's panics are no Exception; whoever handles results gets one."""

    class Panic(BaseException):
        pass

    results = each_row(Calls({2}, Panic), 4)
    assert [isinstance(result, Exception) for result in results] == [False, False, True, False]
    assert "Panic" in str(results[2])


GUILTY, INNOCENT = "a wonderful film", ["a dull story", "it is a long story and it never ends well", "yes"]


@pytest.fixture(scope="module")
def tampered(tmp_path_factory):
    """One entry with each runner, whose tokenizer gives an id for "wonderful" that the embeddings have no row for."""
    folder = tmp_path_factory.mktemp("tampered") / "model_repository"
    for runner in ("inprocess", "bls"):
        export_asset(folder, "bert", "text-classification", "fp32", name=runner, runner=runner)
        path = folder / runner / "1" / "tokenizer.json"
        content = json.loads(path.read_text("utf-8"))
        content["model"]["vocab"]["wonderful"] = 9_999_999
        path.unlink()
        path.write_text(json.dumps(content), "utf-8")
        shutil.rmtree(folder / runner / "warmup", ignore_errors=True)
        config = (folder / runner / "config.pbtxt").read_text()
        (folder / runner / "config.pbtxt").write_text(without_warmup(config))
    return folder


def without_warmup(config: str) -> str:
    """Our texts may hold the word."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    parsed = text_format.Parse(config, model_config_pb2.ModelConfig())
    del parsed.model_warmup[:]
    return text_format.MessageToString(parsed)


@pytest.mark.parametrize("runner", ["inprocess", "bls"])
def test_the_innocent_are_answered_beside_the_guilty(tampered, runner):
    """Two threads send a token without a row, six send none: all of the latter get what they get alone."""
    with Server(tampered) as server, pipeline(model=runner, url=server.url) as classify:
        alone = {text: classify(text)[0] for text in INNOCENT}
        begin, refused = Barrier(8), []

        def ask(index):
            begin.wait()
            for turn in range(60):
                text = GUILTY if index < 2 else INNOCENT[(index + turn) % 3]
                try:
                    answer = classify(text)[0]
                except ClientError as error:
                    refused.append((text, str(error)))
                else:
                    assert answer["label"] == alone[text]["label"]
                    np.testing.assert_allclose(answer["score"], alone[text]["score"], atol=1e-5)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        assert [text for text, _ in refused] == [GUILTY] * 120
        assert all("the graph failed" in reason and "9999999" in reason for _, reason in refused)
