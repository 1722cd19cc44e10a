"""What all task pipelines share: options, texts, results with metadata. How a call is carried out is the runner's."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..errors import InputError
from ..served_model import Row, ServedModel, as_text

log = logging.getLogger(__name__)

#: Texts of one request, unless `batch_size` says otherwise: the server merges and re-cuts requests anyway.
BATCH_SIZE = 32


@dataclass(frozen=True)
class Call:
    """One call of a pipeline: the texts to send, the outputs to ask for, and what makes the result of the rows."""

    texts: Sequence[str]
    outputs: Sequence[str]
    finish: Callable[[list[Row]], Any]
    batch_size: int = BATCH_SIZE


@dataclass(frozen=True)
class Metadata:
    """What happened to one text on the server.

    `num_tokens`: tokens that the model read, special ones included. `num_truncated_tokens`: tokens cut off because
    the text is longer than the model takes. `model_version`: the version that answered.
    """

    num_tokens: int
    num_truncated_tokens: int
    model_version: int


class Results(list):
    """A list as `transformers.pipeline` returns it; `metadata` tells of each text sent, in order."""

    def __init__(self, values: Sequence[Any], rows: Sequence[Row]) -> None:
        super().__init__(values)
        self.metadata = [
            Metadata(int(row["num_tokens"]), int(row["num_truncated_tokens"]), int(row["version"])) for row in rows
        ]
        for index, entry in enumerate(self.metadata):
            if entry.num_truncated_tokens:
                log.warning(
                    "text %d was cut to the model's %d tokens; %d were dropped",
                    index,
                    entry.num_tokens,
                    entry.num_truncated_tokens,
                )


class Runner(Protocol):
    """Carries calls out: blocking, or as coroutines."""

    def run(self, call: Call) -> Any: ...

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> Any: ...

    def close(self) -> Any: ...


class TaskPipeline(ABC):
    """A served model, called as `transformers.pipeline` would be.

    Options given to `pipeline(...)` are defaults of each call. An iterator as input gives an iterator of results,
    read and sent a few hundred texts at a time.
    """

    #: The task as the server names it.
    task: ClassVar[str]
    #: Names that `transformers.pipeline` takes for the same task.
    aliases: ClassVar[tuple[str, ...]] = ()
    #: The keyword arguments of a call.
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: ServedModel, runner: Runner, defaults: Mapping[str, Any]) -> None:
        self.model = model
        self._runner = runner
        self._defaults = self._checked(defaults)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        merged = ChainMap(self._checked(options), dict(self._defaults))
        if isinstance(inputs, Iterator):
            return self._runner.stream(inputs, lambda window: self.prepare(window, merged))
        return self._runner.run(self.prepare(inputs, merged))

    @abstractmethod
    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        """Checks the inputs and makes the call. `options.maps[0]` are those given to the call itself.

        Raises InputError.
        """

    def close(self) -> Any:
        """Ends the connection if this pipeline opened it (a coroutine for asyncio pipelines)."""
        return self._runner.close()

    def __enter__(self) -> TaskPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        known = self.options | {"batch_size"}
        unknown = sorted(set(options) - known)
        if unknown:
            raise InputError(f"{self.task} takes no {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
        batch_size = options.get("batch_size")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, not {batch_size}")
        return dict(options)


def texts_of(inputs: Any) -> list[str]:
    """The texts of a call that takes a string or a list of strings. Raises InputError."""
    if isinstance(inputs, (str, bytes)):
        return [as_text(inputs, 0)]
    if not isinstance(inputs, Sequence):
        raise InputError(f"expected a string or a list of strings, not {type(inputs).__name__}")
    if not inputs:
        raise InputError("the list of texts is empty")
    return [as_text(value, index) for index, value in enumerate(inputs)]


def batch_size_of(options: Mapping[str, Any]) -> int:
    """The texts of one request."""
    return options.get("batch_size") or BATCH_SIZE
