"""A prompt under way: sends it, retries it and reads its answers, blocking or with asyncio.

Each prompt has its own gRPC stream (`ModelStreamInfer`): Triton accepts requests for decoupled models only on streams, and a
request can be cancelled individually only if it has its own stream.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import grpc

from ..errors import ClientError, ConnectionFailed, GenerationInterrupted, ServerError, ServerStopping
from . import forks
from .answering import fitting, refitted
from .generation import GenerationResponse, Prompt, is_last
from .link import task_is_cancelled
from .retries import Tries
from .steps import drive, drive_async
from .target import Target
from .versions import Steps

#: What a stream returns at its end.
_EOF: object = grpc.aio.EOF  # pyright: ignore[reportAttributeAccessIssue] # the stubs lack it


class _Exchange:
    """A prompt under way. It is cancelled when nothing refers to it any more.

    The last response is passed on only after its stream has been read to the end. If a stream is cancelled in between, Triton
    keeps it (seen with 24.10) and cannot unload the model.
    """

    def __init__(self, connection: Any, prompt: Prompt) -> None:
        self.prompt = prompt
        self._connection = connection
        self._target: Target = connection.target
        self._tries = Tries(self._target)
        self._cancelled = threading.Event()
        self._begun = self._inherited = False  # begun: the caller has received an answer
        self._misses = self._refusals = 0
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
        """Frees the prompt's resources on the server and ends its answers. Any thread can call it at any time."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def __del__(self) -> None:
        self.cancel()

    def inherited(self) -> None:
        """Called in a forked child: the stream belongs to the parent, which continues to read it."""
        forks.keep(self._call)
        self._call, self._inherited, self._cancelled = None, True, threading.Event()

    def __reduce__(self) -> Any:
        raise ClientError("a text under way stays with the process that has asked for it: hand on its pieces")

    def require_own(self) -> None:
        """Raises ClientError in a child of the process that sent the prompt."""
        if self._inherited:
            raise ClientError(
                "the text is generated for the process that this one was forked from: ask for it anew here"
            )

    def _send(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._complete, self._tokens = False, 0
        self._texts: list[str] = []
        call = self._connection.stream_infer(self.prompt.message(), self._tries.seconds())
        self._call = call
        if self._cancelled.is_set():  # meanwhile, by another thread that only saw the previous call
            call.cancel()

    def _answer(self, response: Any) -> GenerationResponse | None:
        """Returns the answer in a response, or None if the stream has ended and the text is complete."""
        if response is not None:
            answer = GenerationResponse.of(response, self._target.url)
            self._complete = answer.complete
            self._connection.known.add(self.prompt.model)
            self._texts.append(answer.texts[0])
            self._tokens = answer.metadata[0].num_output_tokens
            return answer
        if not self._complete:
            raise ServerError(f"the stream ended before the text was complete (at {self._target.url})")
        return None

    def _settle(self, answer: GenerationResponse | None) -> Steps[bool]:
        """Returns whether an answer is for the caller, that is, whether the prompt was made for the version that answered.
        If not, the prompt is sent again; the caller has not read any of it yet."""
        if not (answer is None or self._begun):
            prompt = yield from fitting(self.prompt, answer.stamp, self._misses)
            if prompt is not None:
                self._misses += 1
                self.prompt = prompt
                self._send()
                return False
            self._begun = True
        return True

    def _refit(self, error: ClientError) -> Steps[bool]:
        """Sends a refused prompt again if another version may accept it. Returns whether it was sent."""
        self._refusals += 1
        prompt = None if self._begun else (yield from refitted(self.prompt, error, self._refusals))
        if prompt is None:
            return False
        self.prompt = prompt
        self._send()
        return True

    def _pause(self, error: ClientError) -> float:
        """Returns the seconds until the next try. Raises the error if there is none: after the first answer, after enough
        tries, or when another try would come too late or have the same result."""
        try:
            if not self._begun:
                return self._tries.pause(error, self.prompt.model in self._connection.known)
        except ClientError:
            self.cancel()
            raise
        self.cancel()
        self._raise(error)

    def _raise(self, error: ClientError) -> NoReturn:
        """Raises the error. If the text has begun, the error says how far it came."""
        if not (self._begun and isinstance(error, (ConnectionFailed, ServerStopping))):
            raise error
        arrived = f"the server went away amid a text, of which {self._tokens} tokens had arrived: {error}"
        raise GenerationInterrupted(arrived, self.prompt.head + "".join(self._texts), self._tokens) from error


class Exchange(_Exchange):
    """The answers to one prompt, as they arrive. Raises the errors of a connection."""

    def __iter__(self) -> Iterator[GenerationResponse]:
        return self

    def __next__(self) -> GenerationResponse:
        answer = self._read()
        if answer is None:
            raise StopIteration
        return answer

    def _read(self) -> GenerationResponse | None:
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

    def whole(self) -> GenerationResponse:
        """Returns the only answer to a prompt that is not streamed."""
        *_, answer = self
        return answer


class AsyncExchange(_Exchange):
    """`Exchange` for asyncio."""

    def __aiter__(self) -> AsyncIterator[GenerationResponse]:
        return self

    async def __anext__(self) -> GenerationResponse:
        answer = await self._read()
        if answer is None:
            raise StopAsyncIteration
        return answer

    async def _read(self) -> GenerationResponse | None:
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
                    if response is not _EOF and is_last(response):
                        while await self._call.read() is not _EOF:
                            pass
                    answer = self._answer(None if response is _EOF else response)
                if await drive_async(self._connection, self._settle(answer)):
                    return answer
            except asyncio.CancelledError:
                if not self._cancelled.is_set() or task_is_cancelled():
                    self.cancel()
                    raise
            except ClientError as error:
                if self._cancelled.is_set() or await drive_async(self._connection, self._refit(error)):
                    continue
                await asyncio.sleep(self._pause(error))
                again = True
        return None

    async def whole(self) -> GenerationResponse:
        *_, answer = [answer async for answer in self]
        return answer
