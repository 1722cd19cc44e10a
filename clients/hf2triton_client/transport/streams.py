"""Texts that are read while they are generated, blocking and with asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from .exchange import AsyncExchange, Exchange
from .generation import GenerationMetadata, GenerationResponse


class _TextStream:
    """The common part of both kinds of streams. `metadata`: the progress of the text; None before the first answer."""

    def __init__(self, exchange: Any) -> None:
        self.metadata: GenerationMetadata | None = None
        self._exchange = exchange
        self._head: str = exchange.prompt.head

    def _piece(self, answer: GenerationResponse) -> str:
        (self.metadata,) = answer.metadata
        return answer.texts[0]


class TextStream(_TextStream):
    """A text while it is generated: an iterator of its pieces, none of them empty, which join to the whole.

    If you leave the loop early, the server stops generating: by `break`, by an exception, at the end of a `with` block, by
    `close()`, or when nothing refers to the stream any more. `metadata` holds the progress of the text (None before the first
    answer) and, after the loop, what ended it. Iterating raises the errors of a connection; the timeout is for the whole text.
    """

    _exchange: Exchange

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece, self._head = self._head, ""
        while not piece:
            piece = self._piece(next(self._exchange))
        return piece

    def close(self) -> None:
        """Ends the text here. Can be called twice, and from another thread, which also ends the loop."""
        self._head = ""
        self._exchange.cancel()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTextStream(_TextStream):
    """`TextStream` for asyncio: `async for`, `async with`, `await stream.close()`. Cancelling the task that reads it also
    ends it."""

    _exchange: AsyncExchange

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        piece, self._head = self._head, ""
        while not piece:
            piece = self._piece(await anext(self._exchange))
        return piece

    async def close(self) -> None:
        """Like `TextStream.close`."""
        self._head = ""
        self._exchange.cancel()

    async def __aenter__(self) -> AsyncTextStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
