"""How many requests wait, as the server's metrics tell."""

import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from hf2triton.triton_models import backlog as module
from hf2triton.triton_models.backlog import Backlog, metrics_port

METRICS = b"""# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="other",version="1"} 7
nv_inference_pending_request_count{model="a.b",version="12"} 41
nv_inference_pending_request_count{model="a.b",version="2"} 1234
nv_inference_request_success{model="a.b",version="2"} 5
"""


@contextmanager
def metrics(body=METRICS):
    """A port that answers with metrics, or never if there is no body; how often it was asked."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as unanswered:

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                asked.append(connection.recv(1000))
                if body is None:
                    unanswered.enter_context(connection)
                    continue
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_the_count_is_that_of_the_version():
    """Of this model alone, whatever characters are in its name."""
    with metrics() as (port, asked):
        assert Backlog("a.b", "2", port).count() == 1234
        assert Backlog("a.b", "12", port).count() == 41
        assert Backlog("axb", "2", port).count() is None
        assert asked[0] == b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize("body", [b"", None])
def test_a_server_that_does_not_tell_is_left_alone_for_a_while(monkeypatch, body):
    """With no metrics, or no answer: requests do not wait for it again and again."""
    with metrics(body) as (port, asked):
        counted = Backlog("a.b", "2", port)
        assert [counted.count() for _ in range(5)] == [None] * 5
        assert len(asked) == 1
        now = module.time.monotonic()
        monkeypatch.setattr(module.time, "monotonic", lambda: now + module._PAUSE + 1.0)
        assert counted.count() is None
    assert len(asked) == 2


def test_without_a_port_nothing_is_asked():
    """As where the metrics are switched off."""
    assert Backlog("a", "1", None).count() is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert Backlog("a", "1", port).count() is None


@pytest.mark.parametrize(
    ("name", "flags", "port"),
    [
        ("tritonserver", ["--http-port=1", "--metrics-port=1234"], 1234),
        ("/opt/tritonserver/bin/tritonserver", ["--metrics-port", "1234", "--grpc-port", "1"], 1234),
        ("tritonserver", ["--metrics-port=1", "--metrics-port=1234"], 1234),
        ("tritonserver", ["--model-repository=/models"], 8002),
        ("tritonserver", ["--allow-metrics=false"], None),
        ("tritonserver", ["--allow-metrics", "0", "--metrics-port=1234"], None),
        ("tritonserver", ["--metrics-port"], 8002),
        ("tritonserver", ["--metrics-port=x"], None),
        ("python", ["--metrics-port=1234"], None),
    ],
)
def test_the_port_is_that_of_the_servers_command_line(name, flags, port):
    """As NVIDIA's container and `hf2triton serve` start it; of any other process there is none."""
    command = [name, "-c", "import time; print(flush=True); time.sleep(60)", *flags]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        assert metrics_port(server.pid) == port
        server.kill()
    assert metrics_port(server.pid) is None
