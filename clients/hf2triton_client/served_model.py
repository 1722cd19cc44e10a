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

    def requests(self, texts: Sequence[str], outputs: Sequence[str], rows: int) -> Iterator[Request]:
        """Splits texts into requests of at most `rows` texts each (and at most what the server takes)."""
        rows = min(rows, self.max_batch_size)
        for start in range(0, len(texts), rows):
            part = np.array([text.encode() for text in texts[start : start + rows]], dtype=np.object_)
            tensor = triton.InferInput("text", [len(part), 1], "BYTES")
            tensor.set_data_from_numpy(part[:, None])
            wanted = [*outputs, "num_tokens", "num_truncated_tokens"]
            yield Request(self.name, [tensor], [triton.InferRequestedOutput(name) for name in wanted])

    def rows(self, result: triton.InferResult, outputs: Sequence[str]) -> Iterator[Row]:
        """The rows of an answer. Outputs per token are cut to the row's own tokens.

        Yields one dict a text: each output without its batch dimension, and the scalars `num_tokens` (tokens that the
        model read), `num_truncated_tokens` and `version`.
        """
        per = self.settings["outputs"]
        arrays = {name: result.as_numpy(name) for name in outputs}
        version = int(result.get_response().model_version or 0)
        counts = result.as_numpy("num_tokens")[:, 0]
        truncated = result.as_numpy("num_truncated_tokens")[:, 0]
        for index, count in enumerate(counts):
            row: Row = {
                name: array[index, :count] if per[name] == "token" else array[index] for name, array in arrays.items()
            }
            yield row | {"num_tokens": count, "num_truncated_tokens": truncated[index], "version": np.int64(version)}


def as_text(value: object, index: int) -> str:
    """One text to be sent: a string, or bytes that hold UTF-8. Raises InputError, which names the index."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"text {index} is not UTF-8: {error}") from None
    if not isinstance(value, str):
        raise InputError(f"text {index} should be a string, not {type(value).__name__}")
    if not value:
        raise InputError(f"text {index} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"text {index} holds a lone surrogate and cannot be written as UTF-8: {error}") from None
    return value
