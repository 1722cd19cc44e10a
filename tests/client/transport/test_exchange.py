"""A prompt under way: the errors that it ends in, and when it is tried again; blocking and with asyncio."""

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from hf2triton_client import (
    AccessDenied,
    ConnectionFailed,
    DeadlineExceeded,
    GenerationInterrupted,
    InputError,
    ModelNotFound,
    ServerBusy,
    ServerError,
    Tls,
    aio,
    connect,
    pipeline,
)

from ..fake_triton import NAME, FakeTriton
from ..stream_script import FULL, in_asyncio, script

pytestmark = pytest.mark.usefixtures("sought_briefly")

ERRORS = [
    ("fails INVALID_ARGUMENT", InputError, "the server refused the request .*: the reason"),
    ("fails INTERNAL", ServerError, "the model failed .*: the reason"),
    ("fails UNAVAILABLE", ServerBusy, "the reason"),
    ("fails NOT_FOUND", ModelNotFound, "the reason"),
    ("says the reason", ServerError, "the model failed .*: the reason"),
    ("says INVALID_ARG: the reason", InputError, "the server refused the request .*: the reason"),
    ("says UNAVAILABLE: the reason", ServerBusy, "for now .*: the reason"),
    ("says INTERNAL: the reason", ServerError, "the model failed .*: the reason"),
    ("says Request for unknown model: 'x' is not found", ModelNotFound, "unknown model"),
    ("fails CANCELLED", ServerError, "the call was cancelled"),
    ("stops", ServerError, "ended before the text was complete"),
    ("dies", ServerBusy, FULL),
]


@pytest.mark.parametrize(("text", "error", "message"), ERRORS)
def test_errors_are_those_of_other_calls(pipe, text, error, message):
    """Status codes, errors within a response and texts that break off; after its error a stream has ended."""
    with pytest.raises(error, match=message) as raised:
        pipe(text)
    assert type(raised.value) is error
    pieces = pipe.stream(text)
    with pytest.raises(error, match=message):
        list(pieces)
    assert list(pieces) == []


@pytest.mark.parametrize("what", ["busy", "gone"])
def test_a_refusal_is_tried_again_before_the_first_piece(triton, pipe, what):
    """A full queue, whether the text or the status says so, is asked again; a text that has begun is not."""
    assert pipe(f"{what} call") == [{"generated_text": " whole"}]
    assert list(pipe.stream(f"{what} stream")) == [" whole"]
    with pytest.raises(ServerBusy):
        list(pipe.stream("dies"))
    for retries in (0, 1):
        with pipeline(model=NAME, url=triton.url, retries=retries) as own, pytest.raises(ServerBusy):
            own(f"{what} {retries}")
    tries = [seen.text for seen in triton.seen]
    counts = [tries.count(text) for text in (f"{what} call", f"{what} stream", "dies", f"{what} 0", f"{what} 1")]
    assert counts == [3, 3, 1, 1, 2]


class Forgetful(FakeTriton):
    """Cannot be reached for the third config and the fourth, once a pipeline was opened: one call and its one retry."""

    asked = 0

    def ModelConfig(self, request, context):  # noqa: N802 - the protocol's name
        self.asked += 1
        if self.asked in (3, 4):
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return super().ModelConfig(request, context)


@pytest.mark.parametrize("way", ["sync", "asyncio"])
def test_an_answer_that_nobody_was_given_does_not_count(way):
    """Where the config that it is to be read with cannot be had, the prompt is sent again: its text has not begun."""

    async def use(pipe):
        return [piece async for piece in pipe.stream("a")]

    with Forgetful(script) as triton:
        if way == "asyncio":
            pieces = in_asyncio(triton, use, retries=1)
        else:
            with pipeline(model=NAME, url=triton.url, retries=1) as pipe:
                pieces = list(pipe.stream("a"))
        assert pieces == [" whole"]
        assert [seen.text for seen in triton.seen] == ["a", "a"]


def test_no_try_comes_after_the_deadline(triton):
    """A refusal that lasts is told as one, without waiting for the deadline."""
    # the last try comes after at most 1.8 s, and the one after it would come after 2.48 s at the earliest
    with pipeline(model=NAME, url=triton.url, retries=5, timeout=2.4) as own, pytest.raises(ServerBusy):
        own("fails UNAVAILABLE")


def test_a_server_that_is_gone():
    """Nobody there is ConnectionFailed, as for other calls."""
    with FakeTriton(script) as triton:
        own = pipeline(model=NAME, url=triton.url, retries=0)
    with own, pytest.raises(ConnectionFailed, match=triton.url):
        own("a")


def test_a_server_that_dies_before_it_answers():
    """The error comes before the deadline; with gRPC's own retries it would never come."""
    code = (
        "import sys, time; from tests.client.fake_triton import FakeTriton\n"
        "with FakeTriton(lambda seen, context: time.sleep(3600)) as triton:\n"
        "    print(triton.url, flush=True); time.sleep(3600)"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        with pipeline(model=NAME, url=server.stdout.readline().strip(), timeout=30) as own:
            timer = threading.Timer(0.5, server.kill)
            timer.start()
            began = time.monotonic()
            with pytest.raises(ConnectionFailed):
                own("silent")
            assert time.monotonic() - began < 20
    finally:
        server.kill()
        server.communicate()


def test_a_server_that_dies_amid_a_text():
    """The error tells what had arrived, over both kinds of stream."""
    code = (
        "import time; from tests.client.fake_triton import FakeTriton; from tests.client.stream_script import script\n"
        "with FakeTriton(script) as triton:\n"
        "    print(triton.url, flush=True); time.sleep(3600)"
    )

    async def use(url):
        async with aio.pipeline(model=NAME, url=url, timeout=30) as own, own.stream("endless") as pieces:
            received = [await anext(pieces)]
            server.kill()
            with pytest.raises(GenerationInterrupted) as raised:
                received += [piece async for piece in pieces]
            return received, raised.value

    def use_sync(url):
        with pipeline(model=NAME, url=url, timeout=30) as own, own.stream("endless") as pieces:
            received = [next(pieces)]
            server.kill()
            with pytest.raises(GenerationInterrupted) as raised:
                received += pieces
            return received, raised.value

    for run in (use_sync, lambda url: asyncio.run(use(url))):
        server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            received, error = run(server.stdout.readline().strip())
        finally:
            server.kill()
            server.communicate()
        assert error.text.startswith("".join(received))
        assert error.num_output_tokens >= len(received)
        assert f"of which {error.num_output_tokens} tokens had arrived" in str(error)


def test_the_timeout_is_the_deadline_of_a_request(triton):
    """A text that takes longer ends in DeadlineExceeded, and on the server."""
    with pipeline(model=NAME, url=triton.url, timeout=0.5) as own:
        with pytest.raises(DeadlineExceeded):
            own("silent")
        with pytest.raises(DeadlineExceeded):
            list(own.stream("endless"))
    triton.wait_for_cancelled("silent", "endless")


@pytest.mark.parametrize(("text", "error", "message"), ERRORS)
def test_errors_in_asyncio(triton, text, error, message):
    """They are those of the blocking pipeline."""

    async def use(pipe):
        with pytest.raises(error, match=message) as raised:
            await pipe(text)
        assert type(raised.value) is error
        pieces = pipe.stream(text)
        with pytest.raises(error, match=message):
            [piece async for piece in pieces]
        assert [piece async for piece in pieces] == []

    in_asyncio(triton, use)


@pytest.fixture(scope="module")
def key_pair(tmp_path_factory):
    """A key and a certificate for localhost that it signed itself: paths of PEM files."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


def test_streams_are_as_secure_as_other_calls(key_pair):
    """Mutual TLS holds for both kinds of calls, blocking and in asyncio; without a certificate nothing is answered."""
    key, certificate = key_pair
    pems = [Path(path).read_bytes() for path in key_pair]
    credentials = grpc.ssl_server_credentials([pems], root_certificates=pems[1], require_client_auth=True)
    with FakeTriton(script, credentials=credentials) as triton:
        tls = Tls(root_certificates=certificate, private_key=key, certificate_chain=certificate)
        with pipeline(model=NAME, url=triton.url, tls=tls) as own:
            assert list(own.stream("a")) == [" whole"]

        async def use(pipe):
            return await pipe("a")

        assert in_asyncio(triton, use, tls=tls) == [{"generated_text": " whole"}]
        with pytest.raises(ConnectionFailed):
            pipeline(model=NAME, url=triton.url, tls=Tls(root_certificates=certificate), retries=0, timeout=10)
        with pytest.raises(AccessDenied, match="a TLS file cannot be read"):
            connect(triton.url, tls=Tls(root_certificates=f"{certificate}.missing"))
