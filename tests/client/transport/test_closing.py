"""After `close` every call is refused in words of ours, and what is under way when it comes ends so as well."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import grpc
import pytest
from tritonclient.grpc import service_pb2

from hf2triton_client import ClientError, Connection, ConnectionClosed, aio, connect, pipeline
from hf2triton_client.transport.connection import Request, Target
from hf2triton_client.transport.exchange import AsyncExchange, Exchange
from hf2triton_client.transport.generation import Prompt
from hf2triton_client.transport.link import Link
from hf2triton_client.transport.streams import AsyncTextStream, TextStream

from ..fake_triton import NAME, FakeTriton, response

MESSAGE = Prompt(NAME, "a", "{}").message()
REQUESTS = [Request(service_pb2.ModelInferRequest(model_name=NAME))] * 2
#: Of both kinds of connections: whatever asks the server.
CALLS = {
    "model_config": (NAME,),
    "find_config": (NAME,),
    "ready_models": (),
    "infer": REQUESTS[:1],
    "infer_all": (REQUESTS,),
    "stream_infer": (MESSAGE, 5.0),
    "served_versions": (NAME,),
    "server_name": (),
    "compute_time": (NAME,),
    "load_model": (NAME,),
    "unload_model": (NAME,),
}
#: What else a connection has.
OTHERS = {"close", "inherited"}


def script(seen, context):
    """Answers at once, or never where the text says so."""
    if seen.text.startswith("half"):
        yield response([" half"], [""])
    if seen.text.startswith(("half", "silent")):
        while context.is_active():
            time.sleep(0.005)
    yield response([" whole"], ["eos"])


class Silent(FakeTriton):
    """One that never answers a request, and tells of each that it has."""

    def __init__(self) -> None:
        super().__init__(script)
        self.asked = threading.Semaphore(0)

    def ModelInfer(self, request, context):  # noqa: N802 - the protocol's name
        self.asked.release()
        while context.is_active():
            time.sleep(0.005)


@pytest.fixture(scope="module")
def url():
    with FakeTriton(script) as triton:
        yield triton.url


@pytest.fixture
def silent():
    with Silent() as triton:
        yield triton


def test_no_call_of_a_connection_is_left_out():
    """The table above has all that a connection can be asked."""
    public = {name for name, _ in inspect.getmembers(Connection, inspect.isfunction) if not name.startswith("_")}
    assert public == set(CALLS) | OTHERS
    public = {
        name for name, _ in inspect.getmembers(aio.AsyncConnection, inspect.isroutine) if not name.startswith("_")
    }
    assert public <= set(CALLS) | OTHERS


@pytest.mark.parametrize("asked_before", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_a_closed_connection_is_not_asked(url, call, asked_before):
    """Whether it has ever been used or not; closing twice is as closing once."""
    connection = connect(url)
    if asked_before:
        connection.model_config(NAME)
    connection.close()
    connection.close()
    with pytest.raises(ConnectionClosed, match=f"the connection to {url} was closed"):
        getattr(connection, call)(*CALLS[call])


@pytest.mark.parametrize("call", [call for call in CALLS if hasattr(aio.AsyncConnection, call)])
def test_a_closed_connection_of_asyncio_is_not_asked(url, call):
    """The same of the twin."""

    async def ask() -> None:
        connection = aio.AsyncConnection(Target(url))
        await connection.model_config(NAME)
        await connection.close()
        await connection.close()
        with pytest.raises(ConnectionClosed, match=f"the connection to {url} was closed"):
            await getattr(connection, call)(*CALLS[call])

    asyncio.run(ask())


PIPELINE_CALLS = {
    "call": lambda pipe: pipe("a"),
    "list": lambda pipe: pipe(["a", "b"]),
    "iterator": lambda pipe: pipe(iter(["a"])),
    "stream": lambda pipe: pipe.stream("a"),
    "logprobs": lambda pipe: pipe.logprobs("a"),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("call", PIPELINE_CALLS)
def test_a_closed_pipeline_is_not_asked(url, call, shared):
    """Also where its connection is somebody else's, which goes on."""
    with connect(url) as connection:
        pipe = pipeline(model=NAME, **({"connection": connection} if shared else {"url": url}))
        pipe("a")
        pipe.close()
        pipe.close()
        with pytest.raises(ConnectionClosed):
            PIPELINE_CALLS[call](pipe)
        assert connection.model_config(NAME)["name"] == NAME
    with pytest.raises(ConnectionClosed):
        pipeline(model=NAME, connection=connection)


@pytest.mark.parametrize("call", PIPELINE_CALLS)
def test_a_closed_pipeline_of_asyncio_is_not_asked(url, call):
    """The same of the twin."""

    async def ask() -> None:
        pipe = await aio.pipeline(model=NAME, url=url)
        await pipe("a")
        await pipe.close()
        await pipe.close()
        with pytest.raises(ConnectionClosed):
            await PIPELINE_CALLS[call](pipe)

    asyncio.run(ask())


def test_a_pipeline_of_texts_is_not_asked(url):
    """One that sends plain requests, in a list and from an iterator."""
    from hf2triton_client.pipelines import pipeline_class
    from hf2triton_client.transport.runner import BlockingRunner
    from hf2triton_client.transport.served_model import ServedModel

    settings = {"task": "text-classification", "outputs": {}, "problem_type": None}
    models = {"": ServedModel("x", settings, 8)}
    pipe = pipeline_class(None, models)(models, BlockingRunner(connect(url), owned=True), {})
    pipe.close()
    for inputs in (["a"], iter(["a"])):
        with pytest.raises(ConnectionClosed):
            pipe(inputs)


@pytest.mark.parametrize("count", [1, 3])
def test_requests_under_way_end_with_the_connection(silent, count):
    """Long before their deadline; those that wait for their turn are not sent."""
    connection = connect(silent.url, timeout=60, max_in_flight=2)
    under_way = min(count, 2)
    closing = threading.Thread(
        target=lambda: all(silent.asked.acquire(timeout=30) for _ in range(under_way)) and connection.close()
    )
    closing.start()
    began = time.monotonic()
    with pytest.raises(ConnectionClosed, match="was closed while it was asked"):
        connection.infer_all(REQUESTS[:1] * count)
    assert time.monotonic() - began < 30
    closing.join()


def test_requests_of_asyncio_under_way_end_with_the_connection(silent):
    """The same of the twin; a task that is cancelled is cancelled."""

    async def ask() -> None:
        connection = aio.AsyncConnection(Target(silent.url, timeout=60))
        tasks = [asyncio.create_task(connection.infer_all(REQUESTS)) for _ in range(2)]
        await asyncio.to_thread(silent.asked.acquire, timeout=30)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await connection.close()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(tasks[1], 30)

    asyncio.run(ask())


@pytest.mark.parametrize("text", ["silent", "half"])
def test_a_stream_that_is_open_ends_with_the_connection(url, text):
    """Before its first piece and after it; then it has ended."""
    with connect(url, timeout=60) as connection:
        pieces = TextStream(Exchange.open(connection, Prompt(NAME, text, "{}", stream=True)))
        if text == "half":
            assert next(pieces) == " half"
        timer = threading.Timer(0.2, connection.close)
        timer.start()
        with pytest.raises(ConnectionClosed, match="was closed while it was asked"):
            list(pieces)
        assert list(pieces) == []
        timer.join()


@pytest.mark.parametrize("text", ["silent", "half"])
def test_a_stream_of_asyncio_that_is_open_ends_with_the_connection(url, text):
    """The same of the twin."""

    async def read() -> None:
        connection = aio.AsyncConnection(Target(url, timeout=60))
        pieces = AsyncTextStream(AsyncExchange.open(connection, Prompt(NAME, text, "{}", stream=True)))
        if text == "half":
            assert await anext(pieces) == " half"
        closing = asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(connection.close()))
        with pytest.raises(ConnectionClosed, match="was closed while it was asked"):
            await asyncio.wait_for(anext(pieces), 30)
        assert [piece async for piece in pieces] == []
        assert closing.when() > 0

    asyncio.run(read())


def test_many_prompts_under_way_end_with_the_connection(url):
    """A call whose prompts are answered in several threads, closed by another one."""
    pipe = pipeline(model=NAME, url=url, timeout=60)
    timer = threading.Timer(0.3, pipe.close)
    timer.start()
    began = time.monotonic()
    with pytest.raises(ConnectionClosed):
        pipe([f"silent {index}" for index in range(20)])
    assert time.monotonic() - began < 30
    timer.join()


class Opening(Target):
    """One over whose second channel, as soon as it is there, another thread closes the link."""

    def channel(self, library):
        opened = super().channel(library)
        if hasattr(self, "link"):
            closing = threading.Thread(target=self.link.close)
            closing.start()
            time.sleep(0.1)
            self.__dict__.update(opened=opened, closing=closing)
        return opened


def test_a_channel_that_is_opened_as_its_link_is_closed_ends_with_it(url):
    """Where the one before it had found nobody: nothing goes on over a connection that was closed."""
    target = Opening(url)
    link = Link(target)
    target.__dict__["link"] = link
    link._nobody, link._opened = True, time.monotonic() - 10
    link.stub()
    target.closing.join()
    with pytest.raises(ValueError, match="closed channel"):
        target.opened.unary_unary("/x")(b"")
    with pytest.raises(ConnectionClosed):
        link.stub()


def test_the_error_is_one_of_ours():
    """And no error of the network, which would be tried again."""
    assert issubclass(ConnectionClosed, ClientError)
    assert not issubclass(ConnectionClosed, (ConnectionError, grpc.RpcError))
