"""What all task pipelines share: options, texts, results with metadata. Runners carry out their calls."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import InputError
from ..transport.calls import Ask, Call, Inputs
from ..transport.generation import Generation, Prompt
from ..transport.served_model import Row, ServedModel, as_text
from ..transport.versions import Versions

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

#: How many texts, or images, one request holds.
BATCH_SIZE, IMAGES = 32, 8


@dataclass(frozen=True)
class Metadata:
    """What happened to one item on the server.

    `num_tokens`: tokens that the model read, special ones included. `num_truncated_tokens`: tokens cut off because
    the text was too long for the model. Both are 0 for images. `model_version`: the version that answered.
    """

    num_tokens: int
    num_truncated_tokens: int
    model_version: int


class Results(list[Any]):
    """A list as `transformers.pipeline` returns it; `metadata` describes each item sent, in order."""

    def __init__(self, values: Sequence[Any], rows: Sequence[Row]) -> None:
        super().__init__(values)
        self.metadata = [
            Metadata(int(row.get("num_tokens", 0)), int(row.get("num_truncated_tokens", 0)), int(row["version"]))
            for row in rows
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
    """Carries out calls, either blocking or as coroutines."""

    def run(self, call: Call) -> Any: ...

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> Any: ...

    def generate(self, generation: Generation) -> Any: ...

    def generate_each(self, generation: Generation) -> Any: ...

    def generate_stream(self, prompt: Prompt) -> Any: ...

    def close(self) -> Any: ...


class TaskPipeline(ABC):
    """A served model, called as `transformers.pipeline` would be.

    Options passed to `pipeline(...)` are defaults for each call. An iterator as input returns an iterator of results; its items
    are read and sent a few hundred at a time.
    """

    #: The server's name for the task.
    task: ClassVar[str]
    #: Other names for the task in `transformers.pipeline`.
    aliases: ClassVar[tuple[str, ...]] = ()
    #: Other tasks whose models the pipeline can use.
    also: ClassVar[tuple[str, ...]] = ()
    #: Items per request, unless `batch_size` says otherwise. The server merges and splits requests anyway.
    batch_size: ClassVar[int] = BATCH_SIZE
    #: The keyword arguments of a call.
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, models: Mapping[str, ServedModel], runner: Runner, defaults: Mapping[str, Any]) -> None:
        """`models`: the entry's frontends, by input kind if there are several."""
        self.versions = {reads: Versions(model) for reads, model in models.items()}
        self._runner = runner
        self._defaults = self._checked(defaults)

    @property
    def models(self) -> dict[str, ServedModel]:
        """The entry's frontends, by input kind if there are several, each in the version seen last."""
        return {reads: versions.newest for reads, versions in self.versions.items()}

    @property
    def model(self) -> ServedModel:
        """The first frontend, which is the only one in most entries."""
        return next(iter(self.versions.values())).newest

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """The result for one input, a list of results for a list, an iterator of results for an iterator. `options`: those of
        the task, over the pipeline's own. A coroutine for asyncio pipelines, except for iterators. Raises the subclasses of
        ClientError."""
        merged = self.merged(options)
        if isinstance(inputs, Iterator):
            return self._runner.stream(inputs, lambda window: self.prepare(window, merged))
        return self._runner.run(self.prepare(inputs, merged))

    @abstractmethod
    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Any:
        """Checks the inputs and makes the Call or the Generation. `options.maps[0]` holds the options of the call itself.

        Raises InputError.
        """

    def merged(self, options: Mapping[str, Any]) -> ChainMap[str, Any]:
        """The options of a call, over the defaults. Raises InputError for unknown options."""
        return ChainMap(self._checked(options), dict(self._defaults))

    def _options_of(self, **given: Any) -> Mapping[str, Any]:
        """The options of a call that are not None, over the pipeline's own."""
        return self.merged({name: value for name, value in given.items() if value is not None})

    def ask(self, inputs: Inputs | Callable[[ServedModel], Inputs], outputs: Sequence[str], options: Any) -> Ask:
        """A question to the entry's only frontend; `inputs` may depend on its version."""
        size = options.get("batch_size") or self.batch_size
        versions = next(iter(self.versions.values()))
        if callable(inputs):
            return Ask(versions, inputs(versions.newest), outputs, size, inputs)
        return Ask(versions, inputs, outputs, size)

    def close(self) -> Any:
        """Ends the connection if this pipeline opened it (a coroutine for asyncio pipelines)."""
        return self._runner.close()

    def __enter__(self) -> Self:
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


def texts_of(inputs: Any, read: Callable[[Any, int], str] = as_text) -> list[str]:
    """The texts of a call that accepts a string or a list of strings. `read`: turns a value and its index into a text.
    Raises InputError."""
    if isinstance(inputs, (str, bytes)):
        return [read(inputs, 0)]
    if not isinstance(inputs, Sequence):
        raise InputError(f"expected a string or a list of strings, not {type(inputs).__name__}")
    if not inputs:
        raise InputError("the list of texts is empty")
    return [read(value, index) for index, value in enumerate(inputs)]


def positive(options: Mapping[str, Any], name: str, none_means: str | None = None) -> int | None:
    """An option that is a whole number of 1 or more, or None. Raises InputError."""
    value = options.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        or_none = f", or None for {none_means}" if none_means else ""
        raise InputError(f"{name} must be 1 or more{or_none}, not {value!r}")
    return value
