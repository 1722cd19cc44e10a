"""What the server says of a model, and how texts become requests and answers become rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from .connection import Request
from .errors import InputError, WrongTask

#: The name of the parameter in config.pbtxt that holds what clients need to know, as JSON.
PARAMETER = "hf2triton"
#: The version of that JSON's shape. A front with a higher one was written by a newer exporter.
FORMAT = 1

Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class ServedModel:
    """A front as its config describes it. `settings` is the JSON of the parameter `hf2triton`."""

    name: str
    settings: Mapping[str, Any]
    max_batch_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ServedModel:
        """Reads a model's config (the protobuf's JSON form).

        Raises WrongTask for a model that hf2triton did not write, or wrote in a newer format.
        """
        name = config["name"]
        try:
            settings = json.loads(config["parameters"][PARAMETER]["string_value"])
        except (KeyError, ValueError):
            raise WrongTask(
                f"model {name!r} has no {PARAMETER!r} parameter: it was not exported by hf2triton,"
                f" or it is the graph behind a front (call the front, without the ending _model)"
            ) from None
        if settings.get("format") != FORMAT:
            raise WrongTask(
                f"model {name!r} was exported in format {settings.get('format')}; this client reads format {FORMAT}:"
                " install the client of the same version as the exporter"
            )
        return cls(name, settings, int(config.get("max_batch_size", 0)))

    @property
    def task(self) -> str:
        return self.settings["task"]

    @cached_property
    def id2label(self) -> dict[int, str]:
        return {int(index): label for index, label in self.settings["id2label"].items()}

    @property
    def fronts(self) -> Mapping[str, str]:
        """What the entry's fronts read -> their names; this one alone, where its task needs no other."""
        return self.settings.get("fronts", {"": self.name})

    def requests(
        self, inputs: Mapping[str, Sequence[str | bytes]], outputs: Sequence[str], rows: int
    ) -> Iterator[Request]:
        """Splits inputs (name -> a value for each item) into requests of at most `rows` items each, and at most what the
        server takes."""
        rows = min(rows, self.max_batch_size)
        wanted = [*outputs, *(name for name in _COUNTS if name in self.settings["outputs"])]
        for start in range(0, len(next(iter(inputs.values()))), rows):
            tensors = [_strings(name, values[start : start + rows]) for name, values in inputs.items()]
            yield Request(self.name, tensors, [triton.InferRequestedOutput(name) for name in wanted], start)

    def rows(self, result: triton.InferResult, outputs: Sequence[str]) -> Iterator[Row]:
        """The rows of an answer. Outputs per token or per mask are cut to the row's own.

        Yields one dict an item: each output without its batch dimension, the scalar `version`, and those of `num_tokens`
        (tokens that the model read), `num_truncated_tokens` and `num_masks` that the front gives.
        """
        arrays = {name: result.as_numpy(name) for name in outputs}
        version = np.int64(result.get_response().model_version or 0)
        counts = {name: result.as_numpy(name)[:, 0] for name in _COUNTS if name in self.settings["outputs"]}
        own = {name: counts.get(_EXTENT.get(self.settings["outputs"][name])) for name in arrays}
        for index in range(len(next(iter(arrays.values())))):
            row: Row = {
                name: array[index] if own[name] is None else array[index, : own[name][index]]
                for name, array in arrays.items()
            }
            yield row | {name: count[index] for name, count in counts.items()} | {"version": version}


#: What fronts count of each row, and the count that outputs per token and per mask are cut to.
_COUNTS = ("num_tokens", "num_truncated_tokens", "num_masks")
_EXTENT = {"token": "num_tokens", "mask": "num_masks"}


def _strings(name: str, values: Sequence[str | bytes]) -> triton.InferInput:
    """A STRING tensor `[rows, 1]`."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    tensor = triton.InferInput(name, [len(encoded), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(encoded, dtype=np.object_)[:, None])
    return tensor


def one_of_several(name: str) -> str:
    """The name of a front of the entry `name`, if that has several."""
    return f"{name}_image"


def as_text(value: object, index: int) -> str:
    """One text to be sent: a string, or bytes that hold UTF-8. Raises InputError, which names the index."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"text {index} is not UTF-8: {error}") from None
    if not isinstance(value, str):
        raise InputError(f"text {index} should be a string, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"text {index} holds a lone surrogate and cannot be written as UTF-8: {error}") from None
    return value


def as_filled_text(value: object, index: int) -> str:
    """The same for tasks that say nothing of an empty text, as in transformers. Raises InputError."""
    text = as_text(value, index)
    if not text:
        raise InputError(f"text {index} is empty")
    return text
