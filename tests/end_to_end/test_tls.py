"""TLS and mutual TLS on gRPC, and closed endpoints, with the real server and certificates made on the spot."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from hf2triton.core.control import control_headers
from hf2triton.deploy.transfer import publish_entries
from hf2triton.serving import Server
from hf2triton.serving.requirements import check_ports
from hf2triton_client import AccessDenied, ConnectionFailed, Tls, aio, connect, pipeline
from hf2triton_client.transport.tls import CLIENT_TLS

from ..certificates import make_certificates, sign
from ..exporter.entries import export, served_sizes
from ..support import environment_without

KEY = "a-key-for-the-test"
TEXT = "What a lovely day"
#: Path -> what is sent there. Each would answer without TLS.
CALLS = {
    "v2": None,
    "v2/models/sentiment": None,
    "v2/models/sentiment/config": None,
    "v2/models/sentiment/stats": None,
    "v2/models/sentiment/infer": b'{"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["good"]}]}',
    "v2/models/verses/generate": b'{"text_input": "And", "max_new_tokens": 2}',
    "v2/models/verses/generate_stream": b'{"text_input": "And", "max_new_tokens": 2, "stream": true}',
}
#: The same of what always wants the key.
CONTROL = {
    "v2/repository/index": b"{}",
    "v2/repository/models/sentiment/load": b"{}",
    "v2/logging": None,
    "v2/trace/setting": None,
    "v2/systemsharedmemory/status": None,
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """The certificates of the server and of a caller, of one authority."""
    return make_certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """The same of another authority."""
    return make_certificates(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def open_to_all(measured, ours) -> Iterator[Server]:
    """With TLS that wants nothing of callers."""
    with Server(measured.repository, tls=ours / "server", control_key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(measured, ours) -> Iterator[Server]:
    with Server(measured.repository, mutual_tls=ours / "server", control_key=KEY) as server:
        yield server


def ask(url: str, tls: Tls | None, **options) -> tuple:
    """What one text gets, blocking and in asyncio."""
    options = {"retries": 0, "timeout": 20, **options}

    async def in_asyncio():
        async with aio.pipeline(model="sentiment", url=url, tls=tls, **options) as classify:
            return await classify(TEXT)

    with pipeline(model="sentiment", url=url, tls=tls, **options) as classify:
        return classify(TEXT), asyncio.run(in_asyncio())


def streamed(url: str, tls: Tls | None) -> str:
    """A greedy text, whose pieces depend on time alone."""
    with pipeline(model="verses", url=url, tls=tls) as write:
        return "".join(write.stream("And", max_new_tokens=20, do_sample=False, ignore_eos=True))


def refused(url: str, tls: Tls | None, error: type[Exception], match: str) -> None:
    """Both kinds of clients say the same."""

    async def in_asyncio():
        await aio.pipeline(model="sentiment", url=url, tls=tls, retries=0, timeout=20)

    with pytest.raises(error, match=match):
        pipeline(model="sentiment", url=url, tls=tls, retries=0, timeout=20)
    with pytest.raises(error, match=match):
        asyncio.run(in_asyncio())


def status(url: str, data: bytes | None, key: str | None = None) -> int:
    headers = {"Connection": "close", **({"hf2triton-control": key} if key else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_who_knows_the_authority_is_answered(open_to_all, measured, ours):
    """With TLS answers are those of a server without it, blocking and in asyncio, and texts are streamed."""
    tls = Tls(root_certificates=str(ours / "server" / "ca.crt"))
    assert ask(open_to_all.url, tls) == ask(measured.url, None)
    assert streamed(open_to_all.url, tls) == streamed(measured.url, None)


def test_without_tls_nothing_is_answered(open_to_all):
    """The error says how TLS is asked for."""
    refused(open_to_all.url, None, ConnectionFailed, "if it wants TLS: is the url grpcs://")


@pytest.mark.parametrize("known", ["another", "the usual ones"])
def test_a_server_of_another_authority_is_not_trusted(open_to_all, others, known):
    """Neither if the client knows another one nor if it knows the usual ones; the error says what to give."""
    tls = Tls(root_certificates=str(others / "server" / "ca.crt")) if known == "another" else Tls()
    refused(open_to_all.url, tls, AccessDenied, r"is the right authority given, as Tls\(root_certificates=")


def test_a_certificate_counts_for_its_names(measured, ours):
    """Under an address that is not in it the client gives up. HTTP listens on 127.0.0.1, whatever the host."""
    tls = Tls(root_certificates=str(ours / "server" / "ca.crt"))
    with Server(measured.repository, host="127.0.0.2", tls=ours / "server") as server:
        refused(server.url, tls, AccessDenied, "its certificate is for another name")
        assert status(f"http://127.0.0.1:{server.ports.http}/v2/health/ready", None) == 200
        check_ports({"http": "127.0.0.2"}, {"http": server.ports.http})  # nobody listens there
        assert status(f"http://127.0.0.2:{server.ports.metrics}/metrics", None) == 200
    named = sign(ours, "elsewhere", "IP:127.0.0.2")
    with Server(measured.repository, host="127.0.0.2", tls=named) as server:
        assert ask(server.url, tls) == ask(measured.url, None)


def test_a_server_without_tls_is_told_apart(measured, ours):
    """A client that wants TLS does not fall back to none."""
    tls = Tls(root_certificates=str(ours / "server" / "ca.crt"))
    refused(measured.url, tls, AccessDenied, "does not speak TLS on this port")


def test_mutual_tls_wants_a_certificate(mutual, measured, ours):
    """Callers with one of the authority are answered; those with none are not, and the error says what may be missing."""
    own = Tls.from_folder(ours / "caller")
    assert ask(mutual.url, own) == ask(measured.url, None)
    assert streamed(mutual.url, own) == streamed(measured.url, None)
    only_roots = Tls(root_certificates=own.root_certificates)
    refused(mutual.url, only_roots, ConnectionFailed, r"wants a certificate of the client \(mutual TLS\)")
    refused(mutual.url, None, ConnectionFailed, "if it wants TLS")


def test_mutual_tls_refuses_certificates_of_others(mutual, ours, others):
    """A certificate that another authority signed is none."""
    stranger = Tls.from_folder(others / "caller")
    tls = Tls(str(ours / "caller" / "ca.crt"), stranger.private_key, stranger.certificate_chain)
    refused(mutual.url, tls, ConnectionFailed, "that its authority has signed")


@pytest.mark.parametrize("path", CALLS)
def test_http_is_no_way_round(mutual, measured, path):
    """Beside TLS it answers only those who have the key; without TLS it answers all."""
    assert status(f"{mutual.http_url}/{path}", CALLS[path]) == 403
    assert status(f"{mutual.http_url}/{path}", CALLS[path], KEY) == 200
    assert status(f"{measured.http_url}/{path}", CALLS[path]) == 200


@pytest.mark.parametrize("path", ["v2/health/live", "v2/health/ready", "v2/models/sentiment/ready"])
def test_health_is_for_all(mutual, path):
    """Whoever looks after the server asks over HTTP, without a certificate."""
    assert status(f"{mutual.http_url}/{path}", None) == 200


@pytest.mark.parametrize("path", CONTROL)
@pytest.mark.parametrize("secured", [False, True])
def test_control_over_http_wants_the_key(mutual, measured, path, secured):
    """With TLS and without. `measured` allows shared memory, and made a key up."""
    server, closed = (mutual, True) if secured else (measured, "sharedmemory" not in path)
    assert status(f"{server.http_url}/{path}", CONTROL[path]) == (403 if closed else 200)
    if closed:
        assert status(f"{server.http_url}/{path}", CONTROL[path], "another key") == 403
        assert status(f"{server.http_url}/{path}", CONTROL[path], server.access.key) == 200


@pytest.mark.parametrize("headers", [{}, control_headers("another key")], ids=["no key", "another key"])
def test_control_over_grpc_wants_the_key(mutual, ours, headers):
    """A certificate alone is not enough to load, unload, log, trace or hand over shared memory; the error names the header."""
    with connect(mutual.url, tls=Tls.from_folder(ours / "caller"), headers=headers, retries=0) as connection:
        client = triton.InferenceServerClient(**connection.target.client_arguments())
        errors_mapped = connection.target.errors_mapped
        for call in (
            lambda: connection.load_model("sentiment"),
            lambda: connection.unload_model("sentiment"),
            lambda: client.get_model_repository_index(headers=headers),
            lambda: client.get_log_settings(headers=headers),
            lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}, headers=headers),
            lambda: client.register_system_shared_memory("region", "/region", 64, headers=headers),
            lambda: client.get_cuda_shared_memory_status(headers=headers),
        ):
            with pytest.raises(AccessDenied, match="triton-grpc-protocol-hf2triton-control"), errors_mapped():
                call()
    assert ask(mutual.url, Tls.from_folder(ours / "caller"))


def test_the_key_opens_control(mutual, ours):
    """Whoever has both, a certificate and the key, unloads and loads."""
    tls = Tls.from_folder(ours / "caller")
    with connect(mutual.url, tls=tls, headers=mutual.control_headers) as connection:
        connection.unload_model("verses")
        connection.load_model("verses")
    with pipeline(model="verses", url=mutual.url, tls=tls) as write:
        assert write("And", max_new_tokens=2)


@contextmanager
def command_line(*arguments: str, folder: Path) -> Iterator[str]:
    """`hf2triton serve`, on free ports: what it says when it serves."""
    command = [sys.executable, "-m", "hf2triton", "serve", *arguments]
    ports = [f"--{protocol}-port=0" for protocol in ("http", "grpc", "metrics")]
    process = subprocess.Popen([*command, *ports], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_commands_with_mutual_tls_and_a_key(staged, ours, tmp_path):
    """Calling, and publishing to the server that serves, with what the environment names."""
    for name, size in (("served", 32), ("models", 16)):
        export(staged, tmp_path / name, "plain", size)
    place = tmp_path / "model_repository"
    list(publish_entries(tmp_path / "served", place))
    options = ("--mutual-tls", "server", "--control-key", "control.key", "--repository", str(place))
    with command_line(*options, folder=ours) as told:
        [address] = re.findall(r"gRPC grpcs://127\.0\.0\.1:(\d+),", told)
        environment = environment_without(CLIENT_TLS, "HF2TRITON_CONTROL_KEY", "HF2TRITON_CONTROL_KEY_FILE")
        environment |= {CLIENT_TLS: "caller", "HF2TRITON_CONTROL_KEY_FILE": "control.key"}
        url = f"grpcs://localhost:{address}"
        said = ""
        for command in (
            ["infer", "plain", "What a lovely day", "--url", url],
            ["publish", str(tmp_path / "models"), str(place), "plain", "--load", url],
        ):
            result = subprocess.run(
                [sys.executable, "-m", "hf2triton", *command],
                cwd=ours,
                env=environment,
                capture_output=True,
                text=True,
                timeout=200,
            )
            assert result.returncode == 0, result.stderr
            said += result.stdout
        assert "POSITIVE" in said
        assert "plain: version 2 published, in place of 1" in said
        assert served_sizes(place) == {"plain": (2, 16)}
        with connect(f"grpcs://localhost:{address}", tls=Tls.from_folder(ours / "caller")) as connection:
            assert connection.model_config("plain")["max_batch_size"] == 16


def test_models_do_not_inherit_the_key(measured, monkeypatch):
    """The environment of the server's processes lacks it, though whoever started them has it there."""
    import psutil

    monkeypatch.setenv("HF2TRITON_CONTROL_KEY", KEY)
    with Server(measured.repository, control_key=KEY) as server:
        processes = psutil.Process(server._process.supervisor.pid).children(recursive=True)
        stubs = [process for process in processes if "python_backend" in process.name()]
        assert len(stubs) >= 2
        assert all("HF2TRITON_CONTROL_KEY" not in process.environ() for process in stubs)
    assert os.environ["HF2TRITON_CONTROL_KEY"] == KEY
