"""Requests that fail beside others that do not: only the guilty one does, and a model that is unloaded leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest
from tritonclient.grpc import InferResult, service_pb2

from hf2triton.serving import Server
from hf2triton_client import connect

from ..chaos.raw import channel, request
from ..conftest import export_asset

FILLS, WRITES = "blanks", "verses"
GOOD, SECONDS = 32, 120.0
TEXT = "The [MASK] is good"
#: What callers may send as parameters of a fill-mask, and as settings of a generation: JSON or not.
PARAMETERS = {
    "a lone surrogate as a name": b'{"\\ud800": 1}',
    "a lone surrogate as a value": b'{"top_k": "\\udfff"}',
    "a lone surrogate in UTF-8": b'{"\xed\xa0\x80": 1}',
    "no UTF-8": b"\xff\xfe",
    "NUL": b"\x00",
    "NUL as a name": b'{"\\u0000": 1}',
    "a huge name": json.dumps({"k" * 60_000: 1}).encode(),
    "many names": json.dumps(dict.fromkeys(map(str, range(5_000)), 0)).encode(),
    "too many bytes": json.dumps("x" * 200_000).encode(),
    "deep": b'{"top_k": ' + b"[" * 900 + b"]" * 900 + b"}",
    "deeper": b"[" * 100_000,
    "a long number": b'{"top_k": 1' + b"0" * 5_000 + b"}",
    "no number": b'{"top_k": NaN}',
    "infinite": b'{"top_k": -Infinity}',
    "a string": b'"a"',
    "half an object": b'{"top_k": 1',
    "of the wrong type": b'{"top_k": {}}',
    "an emoji as a name": '{"😀": 1}'.encode(),
}


@pytest.fixture(scope="module")
def served(measured_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("neighbours") / "model_repository"
    export_asset(folder, "bert", "fill-mask", "fp32", name=FILLS)
    shutil.copytree(measured_repository / WRITES, folder / WRITES)
    with Server(folder) as running:
        yield running


def processes_of(server: Server, model: str) -> list[psutil.Process]:
    """Those that run a model."""
    found, folder = [], f"{server.repository}/{model}/"
    for process in psutil.process_iter(["cmdline"]):
        command, *words = process.info["cmdline"] or [""]
        if "triton_python_backend_stub" in command and any(word.startswith(folder) for word in words):
            found.append(process)
    return found


def fill(parameters: bytes | None):
    inputs = {"text": [TEXT.encode()]} | ({} if parameters is None else {"parameters": [parameters]})
    return request(FILLS, inputs, ["answers"])


def write(text: str, settings: bytes):
    message = request(WRITES, {"text_input": [text.encode()], "sampling_parameters": [settings]}, ["text_output"], [1])
    message.inputs.add(name="stream", datatype="BOOL", shape=[1])
    message.raw_input_contents.append(b"\0")
    return message


def assert_is_told(said: str) -> None:
    """In a few words, and without the server's paths."""
    assert 0 < len(said.encode()) < 2_500
    assert ".py" not in said


def batches(url: str) -> int:
    with channel(url) as stub:
        [stats] = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=FILLS)).model_stats
    return stats.execution_count


def test_only_the_guilty_request_of_a_batch_fails(served):
    """Parameters of every kind that are none, each beside 32 requests that are answered as ever; together they come in a few
    batches."""
    with channel(served.url) as stub:
        expected = InferResult(stub.ModelInfer(fill(None), timeout=SECONDS)).as_numpy("answers").tolist()
        before = batches(served.url)
        for parameters in PARAMETERS.values():
            messages = [fill(None)] * (GOOD // 2) + [fill(parameters)] + [fill(None)] * (GOOD // 2)
            calls = [stub.ModelInfer.future(message, timeout=SECONDS) for message in messages]
            guilty = calls.pop(GOOD // 2)
            assert guilty.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL), guilty.details()
            assert_is_told(guilty.details())
            assert [InferResult(call.result()).as_numpy("answers").tolist() for call in calls] == [expected] * GOOD
        assert batches(served.url) - before < len(PARAMETERS) * GOOD / 2


def test_only_the_guilty_text_fails(served):
    """The same settings to a model that generates: texts that are under way beside them, or come after them, are as ever."""
    settings = json.dumps({"max_new_tokens": 16, "ignore_eos": True}).encode()
    with channel(served.url) as stub, ThreadPoolExecutor(GOOD) as pool:

        def ask(text: str, given: bytes) -> tuple[str, str]:
            """The text, or the error, that a stream of one request gives."""
            texts, errors = "", ""
            for answer in stub.ModelStreamInfer(iter([write(text, given)]), timeout=SECONDS):
                errors += answer.error_message
                if answer.infer_response.outputs:
                    texts += InferResult(answer.infer_response).as_numpy("text_output")[0].decode()
            return texts, errors

        expected, error = ask("And when we had", settings)
        assert expected
        assert error == ""
        futures = []
        for parameters in PARAMETERS.values():
            futures.append((True, pool.submit(ask, "And when we had", parameters)))
            futures.append((False, pool.submit(ask, "And when we had", settings)))
        for guilty, future in futures:
            text, error = future.result(SECONDS)
            if guilty:
                assert_is_told(error)
            assert (text, bool(error)) == ("" if guilty else expected, guilty)


@pytest.mark.parametrize("model", [FILLS, WRITES])
def test_unloading_leaves_no_process(served, model):
    """Of a model that was asked all of this; loaded again it answers."""
    assert len(processes_of(served, model)) == 1
    with connect(served.url, headers=served.control_headers) as connection:
        connection.unload_model(model)
        until = time.monotonic() + SECONDS
        while processes_of(served, model):
            assert time.monotonic() < until, "the process of a model that was unloaded is still there"
            time.sleep(0.05)
        connection.load_model(model)
        assert connection.model_config(model)["name"] == model
