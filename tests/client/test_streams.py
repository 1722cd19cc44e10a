"""Prompts under way: how they end, early or in error, and how many go together; blocking and with asyncio."""

import asyncio
import contextlib
import gc
import itertools
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2

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

from .fake_triton import NAME, FakeTriton, response

SLOTS = 3
FULL = "Exceeds maximum queue size"


def until_cancelled(context):
    while context.is_active():
        time.sleep(0.005)


def script(seen, context):
    """What the text asks for."""
    what, _, detail = seen.text.partition(" ")
    if what == "endless":
        for index in itertools.count():
            if not context.is_active():
                return
            yield response([f" {index}"], [""], [index + 1])
            time.sleep(0.005)
    elif what == "silent":
        until_cancelled(context)
    elif what == "fails":
        context.abort(grpc.StatusCode[detail], "the reason")
    elif what == "says":
        yield service_pb2.ModelStreamInferResponse(error_message=detail)
    elif what == "stops":
        yield response([" half"], [""])
    elif what == "busy" and seen.tries < 3:
        yield service_pb2.ModelStreamInferResponse(error_message=f"UNAVAILABLE: {FULL}")
    elif what == "gone" and seen.tries < 3:
        context.abort(grpc.StatusCode.UNAVAILABLE, "nobody there")
    elif what == "dies":
        yield response([" half"], [""])
        context.abort(grpc.StatusCode.UNAVAILABLE, FULL)
    elif what == "lingers":
        yield response([" whole"], ["eos"])
        time.sleep(0.3)
    elif what == "waits":
        time.sleep(float(detail))
        yield response([f" {detail}"], ["eos"])
    else:
        yield response([" whole"], ["eos"])


@pytest.fixture(autouse=True)
def sought_briefly(monkeypatch):
    """A model that is not there any more is not looked for for seconds."""
    monkeypatch.setattr("hf2triton_client.retries.SEEKING", 0.2)


@pytest.fixture
def triton():
    with FakeTriton(script, slots=SLOTS) as running:
        yield running


@pytest.fixture
def pipe(triton):
    with pipeline(model=NAME, url=triton.url, timeout=60, return_full_text=False) as opened:
        yield opened


@pytest.fixture
def no_garbage_collection():
    """What is freed is freed since nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def by_break(pipe):
    for piece in pipe.stream("endless"):
        assert piece == " 0"
        break


def by_an_exception(pipe):
    with contextlib.suppress(KeyError):
        for _ in pipe.stream("endless"):
            raise KeyError


def by_forgetting(pipe):
    pieces = pipe.stream("endless")
    next(pieces)


def by_closing(pipe):
    pieces = pipe.stream("endless", return_full_text=True)
    assert [next(pieces), next(pieces)] == ["endless", " 0"]
    pieces.close()
    pieces.close()
    assert list(pieces) == []
    return pieces


def by_leaving_the_block(pipe):
    with pipe.stream("endless") as pieces:
        next(pieces)
    assert list(pieces) == []
    return pieces


@pytest.mark.parametrize("leave", [by_break, by_an_exception, by_forgetting, by_closing, by_leaving_the_block])
@pytest.mark.usefixtures("no_garbage_collection")
def test_leaving_a_stream_ends_it_on_the_server(triton, pipe, leave):
    """However the loop is left, the server learns of it at once."""
    _still_referred_to = leave(pipe)
    triton.wait_for_cancelled("endless")


def test_a_last_response_is_followed_to_the_end_of_its_stream(triton, pipe):
    """Whoever leaves with the last piece in hand cancels nothing: Triton keeps requests that are cancelled just then."""
    with pipe.stream("lingers") as pieces:
        assert next(pieces) == " whole"

    async def use(pipe):
        async with pipe.stream("lingers") as pieces:
            assert await anext(pieces) == " whole"

    in_asyncio(triton, use)
    pipe("a")
    assert triton.cancelled == set()


def test_another_thread_may_close_a_stream(triton, pipe):
    """A loop that waits for the next piece ends; it does not fail."""
    pieces = pipe.stream("silent")
    timer = threading.Timer(0.2, pieces.close)
    timer.start()
    assert list(pieces) == []
    triton.wait_for_cancelled("silent")
    timer.join()


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


def test_no_try_comes_after_the_deadline(triton):
    """A refusal that lasts is told as one, without waiting for the deadline."""
    with pipeline(model=NAME, url=triton.url, retries=4, timeout=0.6) as own:
        began = time.monotonic()
        with pytest.raises(ServerBusy):
            own("fails UNAVAILABLE")
        assert time.monotonic() - began < 0.6


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
        "import time; from tests.client.fake_triton import FakeTriton; from tests.client.test_streams import script\n"
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


def test_as_many_prompts_are_under_way_as_there_are_slots(triton, pipe):
    """Answers come in order; no more prompts are sent at a time than the server has slots, or the connection allows."""
    texts = [f"waits {0.3 if index == 0 else 0.02}" for index in range(12)]
    expected = [[{"generated_text": f" {text.split()[1]}"}] for text in texts]
    assert pipe(texts) == expected
    assert triton.most_at_once == max(SLOTS, 4)
    with connect(triton.url, max_in_flight=6) as connection:
        own = pipeline(model=NAME, connection=connection, return_full_text=False)
        assert own(texts) == expected
    assert triton.most_at_once == 6


def test_an_iterator_is_read_as_its_prompts_are_sent(triton, pipe):
    """Results come one by one; leaving them ends what is under way and reads no more."""
    read = []

    def endless():
        for index in itertools.count():
            read.append(index)
            yield "silent" if index else "a"

    results = pipe(endless())
    assert next(results) == [{"generated_text": " whole"}]
    results.close()
    triton.wait_for_cancelled("silent")
    assert len(read) <= 1 + max(SLOTS, 4)


@pytest.mark.parametrize("inputs", [list, iter])
def test_the_first_failure_ends_the_others(triton, pipe, inputs):
    """Whichever prompt fails first, its error is raised at once and the others are cancelled."""
    texts = ["silent", "silent", "waits 0.1", "fails INTERNAL", *["a"] * 50]
    with pytest.raises(ServerError, match="the reason"):
        list(pipe(inputs(texts)))
    triton.wait_for_cancelled("silent")
    assert len(triton.seen) < 10


def in_asyncio(triton, use, **options):
    """Runs `use(pipe)` with a pipeline of its own; nothing may be left that asyncio complains about."""
    complaints = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with aio.pipeline(model=NAME, url=triton.url, return_full_text=False, **options) as pipe:
            return await use(pipe)

    result = asyncio.run(run())
    gc.collect()
    assert complaints == []
    return result


async def cancelled_within(triton, *texts):
    """The event loop goes on meanwhile."""
    await asyncio.to_thread(triton.wait_for_cancelled, *texts)


async def async_by_break(pipe):
    async for piece in pipe.stream("endless"):
        assert piece == " 0"
        break


async def async_by_forgetting(pipe):
    await anext(pipe.stream("endless"))


async def async_by_closing(pipe):
    pieces = pipe.stream("endless")
    await anext(pieces)
    await pieces.close()
    await pieces.close()
    assert [piece async for piece in pieces] == []
    return pieces


async def async_by_leaving_the_block(pipe):
    with contextlib.suppress(KeyError):
        async with pipe.stream("endless") as pieces:
            await anext(pieces)
            raise KeyError
    return pieces


async def async_by_cancelling_the_task(pipe):
    pieces = pipe.stream("endless")

    async def read():
        async for _ in pieces:
            pass

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 0.2)
    return pieces


@pytest.mark.parametrize(
    "leave",
    [
        async_by_break,
        async_by_forgetting,
        async_by_closing,
        async_by_leaving_the_block,
        async_by_cancelling_the_task,
    ],
)
@pytest.mark.usefixtures("no_garbage_collection")
def test_leaving_an_asyncio_stream_ends_it_on_the_server(triton, leave):
    """As for blocking streams; cancelling the task that reads is one more way."""

    async def use(pipe):
        _still_referred_to = await leave(pipe)
        await cancelled_within(triton, "endless")

    in_asyncio(triton, use)


def test_asyncio_gives_the_same(triton):
    """Calls, lists, iterators and streams have the results, the metadata and the retries of the blocking pipeline."""

    async def use(pipe):
        pieces = pipe.stream("a", return_full_text=True)
        return {
            "call": await pipe("busy call"),
            "list": await pipe(["waits 0.1", "a"]),
            "iterator": [result async for result in pipe(iter(["waits 0.1", "a"]))],
            "stream": [piece async for piece in pieces],
            "reason": pieces.metadata.finish_reason,
        }

    whole, waited = [{"generated_text": " whole"}], [{"generated_text": " 0.1"}]
    assert in_asyncio(triton, use) == {
        "call": whole,
        "list": [waited, whole],
        "iterator": [waited, whole],
        "stream": ["a", " whole"],
        "reason": "eos",
    }


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


def test_asyncio_prompts_go_together_and_end_together(triton):
    """As many as there are slots; the first failure, or cancelling the call, ends all that are under way."""

    async def use(pipe):
        await pipe([f"waits {0.01 * index}" for index in range(12)])
        assert triton.most_at_once == max(SLOTS, 4)
        with pytest.raises(ServerError, match="the reason"):
            await pipe(["silent", "fails INTERNAL", "fails INTERNAL", "silent", *["a"] * 50])
        await cancelled_within(triton, "silent")
        assert len(triton.seen) < 12 + 10
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipe(["silent 1", "silent 2"]), 0.2)
        await cancelled_within(triton, "silent 1", "silent 2")

    in_asyncio(triton, use)


def test_an_asyncio_stream_may_outlive_its_loop(triton):
    """A stream that is let go of after its event loop is closed says nothing."""

    async def use(pipe):
        pieces = pipe.stream("endless")
        await anext(pieces)
        return pieces

    pieces = in_asyncio(triton, use)
    triton.wait_for_cancelled("endless")
    del pieces
