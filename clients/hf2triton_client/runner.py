"""Carries the calls of a pipeline out over a connection, blocking the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from .connection import Connection
from .pipelines.base import Call
from .served_model import ServedModel

#: Texts read from an iterator before they are sent.
WINDOW = 256


class BlockingRunner:
    """Runs calls of one model. `owned`: the connection is closed with the pipeline."""

    def __init__(self, connection: Connection, model: ServedModel, owned: bool) -> None:
        self._connection = connection
        self._model = model
        self._owned = owned

    def run(self, call: Call) -> Any:
        requests = list(self._model.requests(call.texts, call.outputs, call.batch_size))
        results = self._connection.infer_all(requests)
        return call.finish([row for result in results for row in self._model.rows(result, call.outputs)])

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> Iterator[Any]:
        """Results of an endless or a long input, a window at a time."""
        while window := list(islice(inputs, WINDOW)):
            yield from self.run(prepare(window))

    def close(self) -> None:
        if self._owned:
            self._connection.close()
