"""Carries out the calls of a pipeline over a connection, blocking the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ..errors import ConnectionClosed
from .answering import answer
from .calls import Call
from .connection import Connection
from .exchange import Exchange
from .generation import Generation, Prompt
from .prompts import results
from .steps import drive
from .streams import TextStream

#: How many inputs are read from an iterator before they are sent.
WINDOW = 256


class Closing:
    """The common part of runners: nothing runs after `close`. `owned`: the connection is closed with the pipeline."""

    def __init__(self, connection: Any, owned: bool) -> None:
        self._connection = connection
        self._owned = owned
        self._closed = False

    def _open(self) -> Any:
        """Returns the connection. Raises ConnectionClosed."""
        if self._closed:
            raise ConnectionClosed("the pipeline was closed: open another one")
        return self._connection


class BlockingRunner(Closing):
    """Runs calls, blocking."""

    _connection: Connection

    def run(self, call: Call) -> Any:
        return drive(self._open(), answer(call))

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> Iterator[Any]:
        """Yields the results of a long or endless input, a window at a time."""
        self._open()
        windows = iter(lambda: list(islice(inputs, WINDOW)), [])
        return (value for window in windows for value in self.run(prepare(window)))

    def generate(self, generation: Generation) -> Any:
        """Returns the result of all prompts."""
        return generation.finish(list(self.generate_each(generation)))

    def generate_each(self, generation: Generation) -> Iterator[Any]:
        """Yields the results of the prompts, one after the other."""
        return results(self._open(), generation)

    def generate_stream(self, prompt: Prompt) -> TextStream:
        """Returns the text that follows a prompt, piece by piece."""
        return TextStream(Exchange.open(self._open(), prompt))

    def close(self) -> None:
        self._closed = True
        if self._owned:
            self._connection.close()
