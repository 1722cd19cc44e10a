"""One of two servers behind a name is stopped in good order while both are asked: no caller notices."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from hf2triton.serving import Server
from hf2triton_client import GenerationInterrupted, aio, connect, pipeline
from hf2triton_client.transport.connection import Target

from ..support import TEXTS
from .names import names, port_free_on

NAME = "triton.example"
ADDRESSES = ["127.0.0.1", "127.0.0.2"]
PROMPTS = ["And when we had", "The sea", "O"]
OPTIONS = {"max_new_tokens": 24, "do_sample": False, "ignore_eos": True}
#: Seconds that one call may take on a busy machine, and calls of each caller before and after.
SECONDS, CALLS = 60.0, 4

#: What is asked, of `sentiment` and `verses`: one request, several of one call, a text piece by piece, several texts.
#: And a pipeline that is opened for it.
SINGLE, SEVERAL, STREAM, GENERATIONS, NEW = "single", "several", "stream", "generations", "new"


def calling(classify, write, new) -> dict:
    """What each kind of caller calls."""
    return {
        SINGLE: lambda: classify(TEXTS[0]),
        SEVERAL: lambda: classify(TEXTS[:4], batch_size=1),
        STREAM: lambda: write.stream(PROMPTS[0], **OPTIONS),
        GENERATIONS: lambda: write(PROMPTS, **OPTIONS),
        NEW: new,
    }


@dataclass
class Caller:
    """What one caller has been answered; `expected` is the first answer. `broken_off`: texts that ended in a typed error after
    they had begun."""

    expected: object = None
    answers: list = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    broken_off: int = 0

    def note(self, answer: object) -> None:
        self.expected = self.expected or answer
        self.answers.append(answer)

    def failed(self, error: Exception, pieces: list[str]) -> None:
        if isinstance(error, GenerationInterrupted) and pieces and str(self.expected).startswith(error.text):
            self.broken_off += 1
        else:
            self.errors.append(f"{type(error).__name__} after {len(pieces)} pieces: {error}")


def call(own: Caller, kind: str, ask, stop: threading.Event) -> None:
    """Calls until told to stop."""
    while not stop.is_set():
        pieces: list[str] = []
        try:
            answer = ask()
            if kind == STREAM:
                pieces += answer
                answer = "".join(pieces)
            own.note(answer)
        except Exception as error:
            own.failed(error, pieces)


async def call_async(own: Caller, kind: str, ask, stop: threading.Event) -> None:
    """The same for asyncio."""
    while not stop.is_set():
        pieces: list[str] = []
        try:
            if kind == STREAM:
                async for piece in ask():
                    pieces.append(piece)  # noqa: PERF401 – those before an error count
                own.note("".join(pieces))
            else:
                own.note(await ask())
        except Exception as error:
            own.failed(error, pieces)


def open_and_call(target: Target) -> object:
    with pipeline(model="sentiment", url=target.url, timeout=SECONDS) as classify:
        return classify(TEXTS[0])


async def open_and_call_async(target: Target) -> object:
    async with aio.pipeline(model="sentiment", url=target.url, timeout=SECONDS) as classify:
        return await classify(TEXTS[0])


async def call_all_async(target: Target, callers: dict[str, Caller], stop: threading.Event) -> None:
    connection = aio.AsyncConnection(target)
    try:
        pipes = [await aio.pipeline(model=model, connection=connection) for model in ("sentiment", "verses")]
        asks = calling(*pipes, lambda: open_and_call_async(target))
        await asyncio.gather(*(call_async(callers[kind], kind, ask, stop) for kind, ask in asks.items()))
    finally:
        await connection.close()


@pytest.mark.timeout(300)
def test_a_server_that_is_stopped_costs_no_call(measured_repository):
    """With SIGTERM, while its name still has its address: single and several requests, texts in pieces and whole, and pipelines
    that are opened then, of threads and of coroutines. A text that had begun may end in GenerationInterrupted; no other call
    fails, and no answer differs."""
    port = port_free_on(ADDRESSES)
    stop = threading.Event()
    callers = {
        way: {kind: Caller() for kind in (SINGLE, SEVERAL, STREAM, GENERATIONS, NEW)} for way in ("sync", "asyncio")
    }
    everyone = [own for kinds in callers.values() for own in kinds.values()]

    def wait_for_more() -> None:
        before, until = [len(own.answers) for own in everyone], time.monotonic() + SECONDS
        while min(len(own.answers) - then for own, then in zip(everyone, before, strict=True)) < CALLS:
            assert time.monotonic() < until, callers
            time.sleep(0.01)

    with (
        names() as dns,
        Server(measured_repository, host=ADDRESSES[0], grpc_port=port),
        Server(measured_repository, host=ADDRESSES[1], grpc_port=port) as leaving,
        ThreadPoolExecutor(8) as pool,
    ):
        dns.addresses[NAME] = list(ADDRESSES)
        target = Target(dns.target(NAME, port), SECONDS)
        with connect(target.url, timeout=SECONDS) as connection:
            pipes = [pipeline(model=model, connection=connection) for model in ("sentiment", "verses")]
            asks = calling(*pipes, lambda: open_and_call(target))
            futures = [pool.submit(call, own, kind, asks[kind], stop) for kind, own in callers["sync"].items()]
            futures.append(pool.submit(asyncio.run, call_all_async(target, callers["asyncio"], stop)))
            try:
                wait_for_more()
                leaving.stop()
                wait_for_more()
            finally:
                stop.set()
                for future in futures:
                    future.result(SECONDS)
    assert [own.errors for own in everyone] == [[]] * len(everyone)
    assert all(answer == own.expected for own in everyone for answer in own.answers)
