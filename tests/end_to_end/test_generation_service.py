"""A served decoder in operation: a full queue, metrics, memory, models that die or are exchanged."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from hf2triton.errors import ServingError
from hf2triton.serving import Server

from .generation_calls import FP16, FP32, Stream, idle, is_last, metrics, open_http, tensor, wait_for

PROMPT = "And"
#: The longest text that follows the prompt.
LONG = {"max_new_tokens": 250, "ignore_eos": True}
FEW, OTHER = "few", "other"


def copy_entry(repository: Path, name: str, target: Path, new_name: str, **parameters: int) -> None:
    """An entry under another name and with other parameters in its config.pbtxt, as operators set them."""
    shutil.copytree(repository / name, target / new_name)
    path = target / new_name / "config.pbtxt"
    config = text_format.Parse(path.read_text(), pb.ModelConfig())
    config.name = new_name
    for key, value in parameters.items():
        config.parameters[key].string_value = str(value)
    path.write_text(text_format.MessageToString(config))


@pytest.fixture(scope="module")
def own(repository, tmp_path_factory):
    """A server that tests may break, with a model of two slots and room for two more requests, and one of eight."""
    folder = tmp_path_factory.mktemp("own") / "model_repository"
    copy_entry(repository, FP32, folder, FEW, slots=2, max_queue=2)
    copy_entry(repository, FP32, folder, OTHER)
    with Server(folder) as running:
        yield running


def test_a_full_queue_refuses(own):
    """Beyond two slots and two that wait, requests are UNAVAILABLE; those taken are whole, and so are later ones. Over HTTP
    the status is 400, whatever a model's error is; its text tells."""
    full = re.compile(
        r"UNAVAILABLE: 4 requests are running or waiting, as many as may: 2 slots and a queue of 2; retry after \d+\.\d s"
    )
    with Stream(own) as stream:
        alone = stream.ask(FEW, PROMPT, **LONG)
        for _ in range(30):
            stream.send(FEW, PROMPT, stream=False, **LONG)
        taken, refused = stream.outcomes(30)
        assert min(len(taken) - 3, len(refused)) > 0
        assert {response.as_numpy("text_output")[0].decode() for response in taken} == set(alone.texts)
        assert all(full.fullmatch(error.message()) for error in refused)
        connections = [open_http(own, FEW, "generate", text_input=PROMPT, **LONG) for _ in range(30)]
        answers = [connection.getresponse() for connection in connections]
        assert {answer.status for answer in answers} == {200, 400}
        told = {answer.status: json.load(answer).get("error") for answer in answers}
        assert told[200] is None
        assert full.fullmatch(told[400])
        assert stream.ask(FEW, PROMPT, **LONG).texts == alone.texts


def ended(server, model: str, before: dict[str, float]) -> float:
    """How many sequences have ended since `before`, as the last of the metrics to be set tells."""
    name = "time_to_first_token_seconds_count"
    return metrics(server, model)[name] - before[name]


def test_metrics_count_each_model(server):
    """Tokens and sequences of a model are counted under its name, with the seconds that each waited for its first token."""
    wait_for(lambda: idle(server, FP16))
    before = {model: metrics(server, model) for model in (FP16, FP32)}
    began = time.monotonic()
    with Stream(server) as stream:
        request = stream.send(FP16, PROMPT, stream=False, do_sample=True, num_return_sequences=3, **LONG)
        replies = [stream.ask(FP16, PROMPT, max_new_tokens=40), stream.read(request)]
    elapsed = time.monotonic() - began
    wait_for(lambda: ended(server, FP16, before[FP16]) == 4)
    grown = {
        model: {name: value - before[model][name] for name, value in metrics(server, model).items()} for model in before
    }
    assert set(grown[FP32].values()) == {0}
    assert grown[FP16]["generated_tokens_total"] == sum(count for reply in replies for count in reply.counts)
    assert 0 < grown[FP16]["time_to_first_token_seconds_sum"] < 4 * elapsed


def control(server, model: str, what: str) -> None:
    url = f"{server.http_url}/v2/repository/models/{model}/{what}"
    headers = {"hf2triton-control": server.access.key, "Connection": "close"}
    urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=30).close()


def test_a_model_is_unloaded_and_loaded_again(own):
    """Streams under way are finished first, new ones are refused, the other model goes on; counters go on where they were."""
    with Stream(own) as stream, Stream(own) as another:
        alone = stream.ask(OTHER, PROMPT, **LONG)
        requests = [stream.send(OTHER, PROMPT, **LONG) for _ in range(8)]
        for request in requests:
            stream.first(request)
        control(own, OTHER, "unload")
        with pytest.raises(InferenceServerException, match="has no available versions"):
            another.ask(OTHER, PROMPT)
        assert [stream.read(request).texts for request in requests] == [alone.texts] * 8
        assert stream.ask(FEW, PROMPT, **LONG).texts == alone.texts
        before = metrics(own, OTHER)
        assert before["generated_tokens_total"] == 9 * LONG["max_new_tokens"]
        control(own, OTHER, "load")
        assert stream.ask(OTHER, PROMPT, **LONG).texts == alone.texts
    wait_for(lambda: ended(own, OTHER, before) == 1)
    grown = metrics(own, OTHER)["generated_tokens_total"] - before["generated_tokens_total"]
    assert grown == LONG["max_new_tokens"]


def test_the_memory_of_the_slots_is_told(server):
    """The log has, at the start, what the keys and values of all slots take."""
    for model, size, dtype in ((FP32, 8, "float32"), (FP16, 4, "float16")):
        slots = f"(8 slots of 256 tokens, 4 layers, 4 heads of 32, {dtype}) on cpu"
        assert f"{model}: {size} MiB for keys and values {slots}" in server.log_text()


def test_more_slots_than_memory_are_refused(repository, tmp_path):
    """A server with more slots than the machine has room for does not start, and says what they would take."""
    slots = 100 * psutil.virtual_memory().total // 2**20  # of 1 MiB each
    copy_entry(repository, FP32, tmp_path, "huge", slots=slots)
    told = rf"no room for [\d,]+ MiB for keys and values \({slots} slots.*MiB are available. Serve with fewer slots"
    with pytest.raises(ServingError, match=told):
        Server(tmp_path).start()


# Triton 24.10 itself ends now and then when a decoupled model's process is killed amid its answers
@pytest.mark.slow
def test_a_dead_model_is_served_again(own):
    """A model whose process was killed comes back by itself, with no slots held. Triton never ends the requests that it was
    answering: their connections are ended."""
    # a request that Triton refuses is never let go by it: the model is not unloaded cleanly any more, yet must come back
    for values in ([], ["a", "b"]):
        with Stream(own) as stream:
            request = stream.send_inputs(FEW, [tensor("text_input", values)])
            with pytest.raises(InferenceServerException, match=r"Expected \[1\], got"):
                stream.read(request)
    [stub] = [
        process
        for process in psutil.Process(own._process.supervisor.pid).children(recursive=True)
        if "stub" in process.name() and f"/{FEW}/" in " ".join(process.cmdline())
    ]
    with Stream(own) as other:
        expected = other.ask(OTHER, PROMPT, **LONG).texts
        lost = Stream(own)
        requests = [lost.send(FEW, PROMPT, **LONG) for _ in range(4)]
        lost.first(requests[0])
        stub.kill()
    wait_for(lambda: f"model {FEW} is loaded again" in own.log_text())
    assert idle(own, FEW)
    assert f"the process of model {FEW} has died; reloading it" in own.log_text()
    with Stream(own) as stream:
        assert stream.ask(FEW, PROMPT, **LONG).texts == expected
    assert not any(is_last(result) for result, error in lost.rest(0.5) if error is None)
    lost.cancel()
