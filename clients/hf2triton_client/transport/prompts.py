"""The results of many prompts, several under way at the same time; blocking and with asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from itertools import islice
from typing import Any

from .connection import Connection
from .exchange import AsyncExchange, Exchange
from .generation import Generation, GenerationResponse, Prompt

#: More than the slots of any server. The pool starts a thread only if none is idle.
_MOST_THREADS = 4096


def _free(generation: Generation, max_in_flight: int, running: int) -> int:
    """Returns how many more prompts may be sent. The number of slots changes with the model."""
    return max(max(generation.slots, max_in_flight) - running, 0)


def results(connection: Connection, generation: Generation) -> Iterator[Any]:
    """Yields the results of prompts, in order. Prompts are read when they are sent. As many are under way as the server has
    slots, or as the connection allows if that is more.

    The first failure of any prompt is raised at once. Then, or when the caller stops iterating, the prompts under way are
    cancelled.
    """
    waiting = iter(generation.prompts)
    under_way: deque[tuple[Exchange, futures.Future[GenerationResponse]]] = deque()
    running: set[futures.Future[GenerationResponse]] = set()
    # never more threads than prompts under way
    with futures.ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="hf2triton-client") as pool:
        try:
            while True:
                for prompt in islice(waiting, _free(generation, connection.max_in_flight, len(running))):
                    exchange = Exchange.open(connection, prompt)
                    future = pool.submit(exchange.whole)
                    under_way.append((exchange, future))
                    running.add(future)
                while under_way and under_way[0][1].done():
                    exchange, future = under_way.popleft()
                    yield generation.result(exchange.prompt, future.result())
                    exchange.require_own()
                if not running:
                    return
                done, running = futures.wait(running, return_when=futures.FIRST_COMPLETED)
                for future in done:
                    future.result()
        finally:
            for exchange, _ in under_way:
                exchange.cancel()


async def async_results(connection: Any, generation: Generation) -> AsyncIterator[Any]:
    """`results` for asyncio, over an AsyncConnection."""
    waiting = iter(generation.prompts)
    under_way: deque[tuple[Prompt, asyncio.Task[GenerationResponse]]] = deque()
    running: set[asyncio.Task[GenerationResponse]] = set()
    try:
        while True:
            for prompt in islice(waiting, _free(generation, connection.max_in_flight, len(running))):
                task = asyncio.create_task(AsyncExchange.open(connection, prompt).whole())
                under_way.append((prompt, task))
                running.add(task)
            while under_way and under_way[0][1].done():
                prompt, task = under_way.popleft()
                yield generation.result(prompt, task.result())
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for _, task in under_way:
            task.cancel()
        # waits for them to end and retrieves their errors; otherwise asyncio would log them
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
