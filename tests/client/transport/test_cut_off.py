"""Connections that are cut off at any moment, as those to a server are that is killed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from hf2triton_client import ConnectionFailed, GenerationInterrupted, aio, connect, pipeline
from hf2triton_client.transport.connection import Target

from ...chaos.proxy import Proxy
from ...end_to_end.names import port_free_on
from ..fake_triton import NAME
from .test_outage import serving

#: Calls that have to fail, and seconds within which a busy machine brings so many about.
FAILURES, SECONDS = 200, 60.0


class Outcomes:
    """How calls of one kind ended: classes of errors, and whether a part had been answered by then."""

    def __init__(self) -> None:
        self.failed: Counter[tuple[str, bool]] = Counter()
        self._until = time.monotonic() + SECONDS

    @property
    def wanted(self) -> bool:
        return self.failed.total() < FAILURES and time.monotonic() < self._until

    def add(self, error: BaseException, begun: bool) -> None:
        self.failed[type(error).__name__, begun] += 1


async def read(pipe, outcomes: Outcomes) -> None:
    while outcomes.wanted:
        pieces = []
        try:
            async for piece in pipe.stream("a"):
                pieces.append(piece)  # noqa: PERF401 – those before an error count
        except BaseException as error:
            outcomes.add(error, bool(pieces))


async def ask(connection, outcomes: Outcomes) -> None:
    while outcomes.wanted:
        try:
            await connection.model_config(NAME)
        except BaseException as error:
            outcomes.add(error, False)


def read_blocking(pipe, outcomes: Outcomes) -> None:
    while outcomes.wanted:
        pieces = []
        try:
            pieces += pipe.stream("a")
        except BaseException as error:
            outcomes.add(error, bool(pieces))


@pytest.fixture
def cut_all_the_time():
    """The url of a server whose connections are cut every few milliseconds, once `begin` is set."""
    with serving() as behind:
        proxy = Proxy(behind, port_free_on(["127.0.0.1"]))
        begin, end = threading.Event(), threading.Event()

        def cut() -> None:
            begin.wait()
            while not end.wait(0.03):
                proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            yield proxy.url, begin
        finally:
            begin.set()
            end.set()
            thread.join()
            proxy.close()


def test_whatever_is_cut_off_says_so(cut_all_the_time):
    """Streams and calls, with asyncio and without: no connection, and nothing else; of a text that has begun, how far it came."""
    url, begin = cut_all_the_time
    streams, calls, blocking = Outcomes(), Outcomes(), Outcomes()

    async def run() -> None:
        connection = aio.AsyncConnection(Target(url, 30.0, 0))
        pipe = await aio.pipeline(model=NAME, connection=connection)
        begin.set()
        await asyncio.gather(*(read(pipe, streams) for _ in range(20)), *(ask(connection, calls) for _ in range(4)))
        await connection.close()

    with connect(url, timeout=30, retries=0) as own:
        thread = threading.Thread(target=read_blocking, args=(pipeline(model=NAME, connection=own), blocking))
        thread.start()
        asyncio.run(run())
        thread.join()
    assert set(calls.failed) == {(ConnectionFailed.__name__, False)}
    for outcomes in (streams, blocking):
        assert (ConnectionFailed.__name__, False) in outcomes.failed
        assert set(outcomes.failed) <= {(ConnectionFailed.__name__, False), (GenerationInterrupted.__name__, True)}
