"""Prompts under way: texts that are read while they are generated, and many prompts at the same time; for asyncio as well.

Each prompt has a gRPC stream of its own (`ModelStreamInfer`): Triton takes requests for decoupled models on nothing else,
and only a stream of its own can be cancelled alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from itertools import islice
from typing import Any, NoReturn

import grpc

from . import forks
from .answering import fitting, refitted
from .connection import Connection
from .errors import ClientError, ConnectionFailed, GenerationInterrupted, ServerError
from .generation import Answer, Generation, GenerationMetadata, Prompt, is_last
from .retries import Tries
from .steps import drive, drive_async
from .target import Target
from .versions import Steps

#: More than any server has slots. A thread is started only where none is idle.
_MOST_THREADS = 4096


class _Exchange:
    """A prompt under way. It is cancelled when nothing refers to it any more.

    A last response is followed to the end of its stream before it is handed on: a stream that is cancelled in between stays
    with Triton (seen with 24.10), which then cannot unload the model.
    """

    def __init__(self, connection: Any, prompt: Prompt) -> None:
        self.prompt = prompt
        self._connection = connection
        self._target: Target = connection.target
        self._tries = Tries(self._target)
        self._cancelled = threading.Event()
        self._answered = self._complete = self._fits = self._inherited = False
        self._misses = self._refusals = 0
        self._texts: list[str] = []
        self._tokens = 0
        self._call: Any = None
        forks.tell(self)

    @classmethod
    def open(cls, connection: Any, prompt: Prompt) -> Any:
        """Sends a prompt, over a Connection or an AsyncConnection."""
        exchange = cls(connection, prompt)
        with connection.link.errors():
            exchange._send()
        return exchange

    def cancel(self) -> None:
        """Frees what the prompt takes on the server; there are no more answers. Any thread may call it, at any time."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def __del__(self) -> None:
        self.cancel()

    def inherited(self) -> None:
        """In a child: the stream is the parent's, who reads on."""
        forks.keep(self._call)
        self._call, self._inherited, self._cancelled = None, True, threading.Event()

    def require_own(self) -> None:
        """Raises ClientError in a child of the process that sent the prompt."""
        if self._inherited:
            raise ClientError(
                "the text is generated for the process that this one was forked from: ask for it anew here"
            )

    def _send(self) -> None:
        call = self._connection.stream_infer(self.prompt.message(), self._tries.seconds())
        self._call = call
        if self._cancelled.is_set():  # meanwhile, by another thread, which saw the call before this one
            call.cancel()

    def _answer(self, response: Any) -> Answer | None:
        """What a response says. None, for the stream's end, stays None where the text was complete by then."""
        if response is not None:
            answer = Answer.of(response, self._target.url)
            self._answered, self._complete = True, answer.complete
            self._connection.known.add(self.prompt.model)
            self._texts.append(answer.texts[0])
            self._tokens = answer.metadata[0].num_output_tokens
            return answer
        if not self._complete:
            raise ServerError(f"the stream ended before the text was complete (at {self._target.url})")
        return None

    def _settle(self, answer: Answer | None) -> Steps[bool]:
        """Whether the version that answers was asked as it is to be asked. If not the prompt is sent anew, which nobody has read
        anything of."""
        if answer is None or self._fits:
            return True
        prompt = yield from fitting(self.prompt, answer.stamp, self._misses)
        self._fits = prompt is None
        if prompt is not None:
            self._misses += 1
            self._send_again(prompt)
        return self._fits

    def _refit(self, error: ClientError) -> Steps[bool]:
        """Sends a prompt anew that was refused, if it may be taken now; whether it did."""
        self._refusals += 1
        refitted_now = not self._answered and (yield from refitted(self.prompt, error, self._refusals))
        if refitted_now:
            self._send_again(self.prompt.made_for(self.prompt.versions.newest))
        return refitted_now

    def _send_again(self, prompt: Prompt) -> None:
        self._call.cancel()
        self.prompt, self._answered, self._complete = prompt, False, False
        self._texts, self._tokens = [], 0
        self._send()

    def _pause(self, error: ClientError) -> float:
        """Seconds until another try. Raises the error where there is none: after the first answer, when there were enough,
        when it would be too late, or when it would give the same."""
        try:
            if not self._answered:
                return self._tries.pause(error, self.prompt.model in self._connection.known)
        except ClientError:
            self.cancel()
            raise
        self.cancel()
        self._raise(error)

    def _raise(self, error: ClientError) -> NoReturn:
        """Of a text that has begun the error says how far it came."""
        if not (self._answered and isinstance(error, ConnectionFailed)):
            raise error
        arrived = f"the server went away amid a text, of which {self._tokens} tokens had arrived: {error}"
        raise GenerationInterrupted(arrived, self.prompt.head + "".join(self._texts), self._tokens) from error


class Exchange(_Exchange):
    """The answers to one prompt, as they come. Raises the errors of a connection."""

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        answer = self._read()
        if answer is None:
            raise StopIteration
        return answer

    def _read(self) -> Answer | None:
        self.require_own()
        again = False
        while not self._cancelled.is_set():
            try:
                with self._connection.link.errors():
                    if again:
                        again = False
                        self._send()
                    response = next(self._call, None)
                    if response is not None and is_last(response):
                        deque(self._call, maxlen=0)
                    answer = self._answer(response)
                if drive(self._connection, self._settle(answer)):
                    return answer
            except ClientError as error:
                if self._cancelled.is_set() or drive(self._connection, self._refit(error)):
                    continue
                self._cancelled.wait(self._pause(error))
                again = True
        return None

    def whole(self) -> Answer:
        """The only answer to a prompt that is not streamed."""
        *_, answer = self
        return answer


class AsyncExchange(_Exchange):
    """`Exchange` for asyncio."""

    def __aiter__(self) -> AsyncIterator[Answer]:
        return self

    async def __anext__(self) -> Answer:
        answer = await self._read()
        if answer is None:
            raise StopAsyncIteration
        return answer

    async def _read(self) -> Answer | None:
        self.require_own()
        again = False
        while not self._cancelled.is_set():
            try:
                await forks.passed()
                with self._connection.link.errors():
                    if again:
                        again = False
                        self._send()
                    response = await self._call.read()
                    if response is not grpc.aio.EOF and is_last(response):
                        while await self._call.read() is not grpc.aio.EOF:
                            pass
                    answer = self._answer(None if response is grpc.aio.EOF else response)
                if await drive_async(self._connection, self._settle(answer)):
                    return answer
            except asyncio.CancelledError:
                if not self._cancelled.is_set():
                    self.cancel()
                    raise
            except ClientError as error:
                if self._cancelled.is_set() or await drive_async(self._connection, self._refit(error)):
                    continue
                await asyncio.sleep(self._pause(error))
                again = True
        return None

    async def whole(self) -> Answer:
        *_, answer = [answer async for answer in self]
        return answer


class _TextStream:
    """What the streams of both kinds share. `metadata`: how far the text has come; None before the first answer."""

    def __init__(self, exchange: Any) -> None:
        self.metadata: GenerationMetadata | None = None
        self._exchange = exchange
        self._head = exchange.prompt.head

    def _piece(self, answer: Answer) -> str:
        (self.metadata,) = answer.metadata
        return answer.texts[0]


class TextStream(_TextStream):
    """A text while it is generated: an iterator of its pieces, none of them empty, which join to the whole.

    When the loop is left early, the server stops generating: by `break`, by an exception, at the end of a `with` block,
    by `close()`, or when the stream is no longer referred to. `metadata` tells how far the text has come (None before the
    first answer), and after the loop what ended it. Iterating raises the errors of a connection; its timeout is that of the
    whole text.
    """

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece, self._head = self._head, ""
        while not piece:
            piece = self._piece(next(self._exchange))
        return piece

    def close(self) -> None:
        """Ends the text here. May be called twice, and from another thread: the loop then ends as well."""
        self._head = ""
        self._exchange.cancel()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTextStream(_TextStream):
    """`TextStream` for asyncio: `async for`, `async with`, `await stream.close()`. Cancelling the task that reads it ends
    it as well."""

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        piece, self._head = self._head, ""
        while not piece:
            piece = self._piece(await anext(self._exchange))
        return piece

    async def close(self) -> None:
        """As `TextStream.close`."""
        self._head = ""
        self._exchange.cancel()

    async def __aenter__(self) -> AsyncTextStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _free(connection: Any, generation: Generation, running: int) -> int:
    """How many more prompts may be sent. The number of slots changes with the model."""
    return max(max(generation.slots, connection.max_in_flight) - running, 0)


def results(connection: Connection, generation: Generation) -> Iterator[Any]:
    """The results of prompts in their order. Prompts are read when they are sent, as many at a time as the server has
    slots, or as the connection allows if that is more.

    The first failure is raised at once, whichever prompt's it is. Then, and when the iterator is left, the prompts under
    way are cancelled.
    """
    waiting = iter(generation.prompts)
    under_way: deque[tuple[Exchange, futures.Future[Answer]]] = deque()
    running: set[futures.Future[Answer]] = set()
    # as many threads as there are prompts under way, and no more
    with futures.ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="hf2triton-client") as pool:
        try:
            while True:
                for prompt in islice(waiting, _free(connection, generation, len(running))):
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
    under_way: deque[tuple[Prompt, asyncio.Task[Answer]]] = deque()
    running: set[asyncio.Task[Answer]] = set()
    try:
        while True:
            for prompt in islice(waiting, _free(connection, generation, len(running))):
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
        # waits for their ends, and takes their errors, which asyncio would otherwise log as never retrieved
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
