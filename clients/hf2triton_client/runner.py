"""Carries the calls of a pipeline out over a connection, blocking the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from .connection import Connection, Request
from .generation import Generation, Prompt
from .pipelines.base import Call
from .streams import Exchange, TextStream, results

#: Inputs read from an iterator before they are sent.
WINDOW = 256


def requests_of(call: Call) -> list[list[Request]]:
    """The requests of each question that a call asks."""
    return [list(ask.model.requests(ask.inputs, ask.outputs, ask.batch_size)) for ask in call.asks]


def result_of(call: Call, requests: Sequence[Sequence[Request]], results: Sequence[Any]) -> Any:
    """The result of a call, or the call to be made next, given the results of all its requests in order."""
    left = iter(results)
    rows = [
        [row for result in islice(left, len(own)) for row in ask.model.rows(result, ask.outputs)]
        for ask, own in zip(call.asks, requests, strict=True)
    ]
    return call.finish(*rows)


class BlockingRunner:
    """Runs calls. `owned`: the connection is closed with the pipeline."""

    def __init__(self, connection: Connection, owned: bool) -> None:
        self._connection = connection
        self._owned = owned

    def run(self, call: Call) -> Any:
        result: Any = call
        while isinstance(result, Call):
            requests = requests_of(result)
            results = self._connection.infer_all([one for own in requests for one in own])
            result = result_of(result, requests, results)
        return result

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> Iterator[Any]:
        """Results of an endless or a long input, a window at a time."""
        while window := list(islice(inputs, WINDOW)):
            yield from self.run(prepare(window))

    def generate(self, generation: Generation) -> Any:
        """The result of all prompts."""
        return generation.finish(list(self.generate_each(generation)))

    def generate_each(self, generation: Generation) -> Iterator[Any]:
        """The results of the prompts, one after the other."""
        return results(self._connection, generation)

    def generate_stream(self, prompt: Prompt) -> TextStream:
        """The text that follows a prompt, piece by piece."""
        return TextStream(Exchange.open(self._connection, prompt))

    def close(self) -> None:
        if self._owned:
            self._connection.close()
