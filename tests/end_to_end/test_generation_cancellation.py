"""Callers of a served decoder who go away: what is generated for them ends, and others get their slots."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .generation_calls import FP32, Stream, idle, metrics, open_http, wait_for

ROOT = Path(__file__).parents[2]
PROMPT = "And"
#: The longest text that follows the prompt, and how many of them take a while.
LONG = {"max_new_tokens": 250, "ignore_eos": True}
MANY = 120


def occupied(server, model: str) -> bool:
    now = metrics(server, model)
    return now["live_slots"] == 8 and now["queue_length"] > 0


def cancel_a_stream(server):
    """Cancelled by its own client."""
    stream = Stream(server)
    requests = [stream.send(FP32, PROMPT, **LONG) for _ in range(MANY)]
    stream.first(requests[0])
    yield
    stream.cancel()
    yield


KILLED = """
import json, sys, time
from tests.end_to_end.generation_calls import Stream
from types import SimpleNamespace
stream = Stream(SimpleNamespace(url=sys.argv[1]))
requests = [stream.send(sys.argv[2], sys.argv[3], **json.loads(sys.argv[4])) for _ in range(int(sys.argv[5]))]
stream.first(requests[0])
print("begun", flush=True)
time.sleep(60)
"""


def kill_a_client(server):
    """Its process is gone without a word."""
    arguments = [server.url, FP32, PROMPT, json.dumps(LONG), str(MANY)]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, cwd=ROOT) as client:
        assert client.stdout.readline() == b"begun\n"
        yield
        client.send_signal(signal.SIGKILL)
    yield


def close_http_streams(server):
    """Connections that are closed early. Triton notices when it writes the next event."""
    connections = [
        open_http(server, FP32, "generate_stream", text_input=PROMPT, stream=True, **LONG) for _ in range(MANY)
    ]
    assert connections[0].getresponse().read1(6) == b"data: "
    yield
    for connection in connections:
        connection.sock.close()
    yield


@pytest.mark.parametrize("go_away", [cancel_a_stream, kill_a_client, close_http_streams])
def test_who_goes_away_frees_the_slots(server, go_away):
    """With all eight slots held and more waiting, the next request is served as soon as the callers are gone, and nothing
    more is generated for them."""
    wait_for(lambda: idle(server, FP32))
    before = metrics(server, FP32)["generated_tokens_total"]
    gone = go_away(server)
    next(gone)
    wait_for(lambda: occupied(server, FP32))
    next(gone)
    with Stream(server) as stream:
        assert stream.ask(FP32, PROMPT, max_new_tokens=5, ignore_eos=True).counts == [5]
    wait_for(lambda: idle(server, FP32))
    generated = metrics(server, FP32)["generated_tokens_total"]
    assert generated - before < MANY * LONG["max_new_tokens"]  # which is what they would come to
    time.sleep(0.5)
    assert metrics(server, FP32)["generated_tokens_total"] == generated


def test_http_generate_goes_on_without_its_caller(server):
    """Triton does not notice that a caller of `generate` has closed the connection: the texts are generated to their ends."""
    wait_for(lambda: idle(server, FP32))
    before = metrics(server, FP32)["generated_tokens_total"]
    connections = [open_http(server, FP32, "generate", text_input=PROMPT, **LONG) for _ in range(20)]
    wait_for(lambda: occupied(server, FP32))
    for connection in connections:
        connection.sock.close()
    wait_for(lambda: idle(server, FP32))
    assert metrics(server, FP32)["generated_tokens_total"] - before == 20 * LONG["max_new_tokens"]
