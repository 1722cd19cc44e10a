"""Processes that have clients and start others: `python -m tests.client.transport.forked WAY URL`. Fails where a child is not
answered; where it is refused it prints what is said. Without arguments it is the server, and prints its url."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

from tritonclient.grpc import service_pb2

from hf2triton_client import ClientError, aio, connect, pipeline
from hf2triton_client.transport.connection import Request

from ..fake_triton import NAME, FakeTriton, response

REQUESTS = [Request(service_pb2.ModelInferRequest(model_name=NAME))] * 6
EXPECTED = (["afine"] * 6, 6)
METHODS = ("fork", "forkserver", "spawn")


class Server(FakeTriton):
    """Answers prompts, and plain requests with nothing."""

    def __init__(self) -> None:
        super().__init__(lambda seen, context: iter([response(["fine"], ["length"])]))

    def ModelInfer(self, request, context):  # noqa: N802 - the protocol's name
        return service_pb2.ModelInferResponse(model_name=NAME, model_version="4")


def ask(pipe) -> tuple[list[str], int]:
    """One call of several prompts, and one of several requests: each has threads of its own."""
    texts = [one[0]["generated_text"] for one in pipe(["a"] * 6)]
    return texts, len(pipe._runner._connection.infer_all(REQUESTS))


async def ask_async(url: str) -> list[str]:
    async with aio.pipeline(model=NAME, url=url, timeout=20) as pipe:
        return [one[0]["generated_text"] for one in await pipe(["a"] * 6)]


def forked(work) -> int:
    """Starts a child that ends as Python does; its number."""
    child = os.fork()
    if child:
        return child
    signal.alarm(60)  # whatever hangs is killed
    try:
        work()
    except ClientError as error:
        print(f"refused: {error}", flush=True)
    sys.exit(0)


def wait(*children: int) -> None:
    for child in children:
        status = os.waitpid(child, 0)[1]
        assert status == 0, f"a child ended with {status}"


def require(pipe) -> None:
    assert ask(pipe) == EXPECTED


def plain(pipe, url: str) -> None:
    """A child and its parent go on with what there was."""
    wait(forked(lambda: require(pipe)))


def preloaded(pipe, url: str) -> None:
    """Several children at the same time, and children of theirs."""
    wait(*(forked(lambda: (require(pipe), wait(forked(lambda: require(pipe))))) for _ in range(4)))


def amid_calls(pipe, url: str) -> None:
    """While other threads call all the time: a fork waits for what is under way."""
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            require(pipe)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            wait(forked(lambda: require(pipe)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def held(pipe, url: str) -> None:
    """A text that the parent reads is refused to the child."""
    text = pipe.stream("b")
    wait(forked(lambda: next(text)))
    assert "".join(text) == "fine"


def inherited(pipe, url: str) -> None:
    """A pool whose processes find the pipeline where their parent had it."""
    global _pipe
    _pipe = pipe
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert [one.result(60) for one in [pool.submit(_ask_inherited) for _ in range(4)]] == [EXPECTED] * 4


def _ask_inherited() -> tuple[list[str], int]:
    return ask(_pipe)


def handed_over(pipe, url: str) -> None:
    """As an argument, to pools and processes that are started in each way."""
    for method in METHODS:
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, context) as pool:
            assert [one.result(60) for one in [pool.submit(ask, pipe) for _ in range(4)]] == [EXPECTED] * 4
        process = context.Process(target=require, args=(pipe,))
        process.start()
        process.join(60)
        assert process.exitcode == 0, (method, process.exitcode)


def asyncio_in_a_child(pipe, url: str) -> None:
    """Where the parent has called without it."""

    def work() -> None:
        assert asyncio.run(ask_async(url)) == EXPECTED[0]

    wait(forked(work))


def asyncio_in_both(pipe, url: str) -> None:
    """Is refused; pipelines without asyncio are not."""
    assert asyncio.run(ask_async(url)) == EXPECTED[0]
    wait(forked(lambda: require(pipe)), forked(lambda: asyncio.run(ask_async(url))))


def asyncio_handed_over(pipe, url: str) -> None:
    """An asyncio pipeline, and a text under way, stay where they are."""

    async def work() -> None:
        async with aio.pipeline(model=NAME, url=url) as own:
            for one in (own, own.stream("b")):
                pickle.dumps(one)

    for refused in (lambda: asyncio.run(work()), lambda: pickle.dumps(pipe.stream("b"))):
        try:
            refused()
        except ClientError as error:
            print(f"refused: {error}", flush=True)


WAYS = {
    one.__name__: one
    for one in (
        plain,
        preloaded,
        amid_calls,
        held,
        inherited,
        handed_over,
        asyncio_in_a_child,
        asyncio_in_both,
        asyncio_handed_over,
    )
}


def main(way: str, url: str) -> None:
    with connect(url, timeout=20) as connection:
        pipe = pipeline(model=NAME, connection=connection)
        require(pipe)  # pools of threads are there now
        WAYS[way](pipe, url)
        require(pipe)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        with Server() as server:
            print(server.url, flush=True)
            signal.pause()
