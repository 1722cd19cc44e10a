"""A model as the server describes it, and how texts become requests and answers become rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import serialize_byte_tensor

from ..errors import InputError, ServerError, WrongTask
from .connection import Request
from .protocol import ModelInferRequest

#: The name of the parameter in config.pbtxt that holds what clients need to know, as JSON.
PARAMETER = "hf2triton"
#: The version of that JSON's format. A frontend with a higher version was written by a newer exporter.
FORMAT = 1

#: The most bytes that all texts and parameters of one request may have. Frontends have the same limit, see their inputs.py.
MAX_REQUEST_BYTES = 1 << 22
#: The input that tells Triton which requests are large, and the size in bytes from which a request is large.
LARGE, LARGE_BYTES = "large", 1 << 20
#: The output that identifies a frontend's settings, see `fingerprint_of`.
FINGERPRINT = "fingerprint"

#: The answer to one item: outputs by name, and `model`, the ServedModel that answered.
Row = dict[str, Any]


class Stamp(NamedTuple):
    """Identifies the version that answered: its number, and the fingerprint of its settings. Numbers alone do not identify a
    version: other repositories use the same numbers, and so does an entry that was removed and exported again. Frontends of
    older exports return no fingerprint."""

    version: int
    fingerprint: int | None


@dataclass(frozen=True)
class ServedModel:
    """A frontend as its config describes it. `settings` is the JSON of the parameter `hf2triton`, `fingerprint` is computed
    from the text of that JSON, and `versions` are the version numbers that the config covers."""

    name: str
    settings: Mapping[str, Any]
    max_batch_size: int
    versions: tuple[int, ...] = ()
    fingerprint: int | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ServedModel:
        """Reads a model's config (the protobuf's JSON form).

        Raises WrongTask for a model that hf2triton did not write, or that it wrote in a newer format.
        """
        name = config["name"]
        try:
            text = config["parameters"][PARAMETER]["string_value"]
            settings = json.loads(text)
        except (KeyError, ValueError):
            raise WrongTask(
                f"model {name!r} has no {PARAMETER!r} parameter: it was not exported by hf2triton,"
                f" or it is the graph behind a frontend (call the frontend, without the ending _model)"
            ) from None
        if settings.get("format") != FORMAT:
            raise WrongTask(
                f"model {name!r} was exported in format {settings.get('format')}; this client reads format {FORMAT}:"
                " install the client of the same version as the exporter"
            )
        versions = config.get("version_policy", {}).get("specific", {}).get("versions", ())
        return cls(
            name,
            settings,
            int(config.get("max_batch_size", 0)),
            tuple(int(version) for version in versions),
            fingerprint_of(text) if FINGERPRINT in settings.get("outputs", ()) else None,
        )

    @property
    def task(self) -> str:
        return str(self.settings["task"])

    @cached_property
    def id2label(self) -> dict[int, str]:
        return {int(index): label for index, label in self.settings["id2label"].items()}

    @property
    def frontends(self) -> Mapping[str, str]:
        """Returns the names of the entry's frontends, by input kind; only this one if its task needs no other."""
        names: Mapping[str, str] = self.settings.get("fronts", {"": self.name})
        return names

    def answers_as(self, stamp: Stamp) -> bool:
        """Returns whether this version gave an answer."""
        if stamp.fingerprint is not None:
            return stamp.fingerprint == self.fingerprint
        return stamp.version in self.versions

    def embeds_as(self, version: int) -> Hashable:
        """Returns a value that is equal for answers whose embeddings and scores can be compared, also across the frontends
        of an entry: they come from the same weights in the same way."""
        about = json.dumps([self.settings.get(name) for name in _EMBEDDING], sort_keys=True)
        return about, None if "checkpoint" in self.settings else version

    def requests(
        self, inputs: Mapping[str, Sequence[str | bytes]], outputs: Sequence[str], rows: int
    ) -> Iterator[Request]:
        """Splits inputs (name -> a value for each item) into requests of at most `rows` items, and within the server's
        limits. Raises InputError for a value that is too long."""
        columns = {name: self._encoded(name, values) for name, values in inputs.items()}
        sizes = [sum(map(len, item)) for item in zip(*columns.values(), strict=True)]
        wanted = [*outputs, *(name for name in (*_COUNTS, FINGERPRINT) if name in self.settings["outputs"])]
        for start, stop in _spans(sizes, min(rows, self.max_batch_size)):
            message = ModelInferRequest(model_name=self.name)
            for name, values in columns.items():
                _add_strings(message, name, values[start:stop])
            if LARGE in self.settings.get("inputs", ()) and sum(sizes[start:stop]) >= LARGE_BYTES:
                _add_large(message, stop - start)
            for name in wanted:
                message.outputs.add(name=name)
            yield Request(message, start)

    def _encoded(self, name: str, values: Sequence[str | bytes]) -> list[bytes]:
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        most = self.settings.get("max_bytes")
        for index, value in enumerate(encoded):
            if most is not None and len(value) > most:
                raise InputError(f"{name} {index} has {len(value):,} bytes; at most {most:,} are taken")
        return encoded

    def rows(self, result: triton.InferResult, outputs: Sequence[str]) -> Iterator[Row]:
        """Yields the rows of an answer. Outputs per token, mask or weight are cut to their number in the row.

        Each row is a dict: each output without its batch dimension, the scalar `version`, the counts that the frontend returns
        (`num_tokens`, the tokens that the model read, `num_truncated_tokens`, `num_masks`, `num_weights`), and `model`, this one.
        """
        arrays = {name: output_of(result, name) for name in outputs}
        version = np.int64(result.get_response().model_version or 0)
        counts = {name: output_of(result, name)[:, 0] for name in _COUNTS if name in self.settings["outputs"]}
        extents = {name: counts.get(_EXTENT.get(self.settings["outputs"][name], "")) for name in arrays}
        for index in range(len(next(iter(arrays.values())))):
            row: Row = {
                name: array[index] if (extent := extents[name]) is None else array[index, : extent[index]]
                for name, array in arrays.items()
            }
            yield row | {name: count[index] for name, count in counts.items()} | {"version": version, "model": self}


def fingerprint_of(settings: str) -> int:
    """Returns a number that identifies settings, given as the text in the config. Must equal the result of
    triton_models/fingerprint.py."""
    return int.from_bytes(hashlib.sha256(settings.encode()).digest()[:8], "big") >> 1


def output_of(result: triton.InferResult, name: str) -> NDArray[Any]:
    """Returns an output of an answer. Raises ServerError if the server left it out."""
    array: NDArray[Any] | None = result.as_numpy(name)
    if array is None:
        raise ServerError(f"the answer has no output {name!r}")
    return array


def stamp_of(result: Any) -> Stamp:
    """Returns the version that gave an answer, an InferResult."""
    fingerprints = result.as_numpy(FINGERPRINT)
    version = int(result.get_response().model_version or 0)
    return Stamp(version, None if fingerprints is None else int(fingerprints.flat[0]))


#: What frontends count for each row. Outputs per token, mask and weight are cut to these counts.
_COUNTS = ("num_tokens", "num_truncated_tokens", "num_masks", "num_weights")
_EXTENT = {"token": "num_tokens", "mask": "num_masks", "weight": "num_weights"}
#: The settings that embeddings depend on.
_EMBEDDING = (
    *("checkpoint", "precision", "pooling", "similarity", "embedding_dim", "logit_scale", "logit_bias", "id2label"),
    *("activation", "prompts", "default_prompt_name"),
)


def _spans(sizes: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of requests of at most `rows` items and `MAX_REQUEST_BYTES`; a larger item gets its own request."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == rows or total + size > MAX_REQUEST_BYTES):
            yield start, index
            start, total = index, 0
        total += size
    if sizes:
        yield start, len(sizes)


def _add_strings(message: ModelInferRequest, name: str, values: Sequence[bytes]) -> None:
    """Adds a STRING tensor `[rows, 1]`."""
    message.inputs.add(name=name, datatype="BYTES", shape=[len(values), 1])
    message.raw_input_contents.append(serialize_byte_tensor(np.array(values, dtype=np.object_)).item())


def _add_large(message: ModelInferRequest, rows: int) -> None:
    """Adds a uint8 tensor `[rows, 1]` that no model reads."""
    message.inputs.add(name=LARGE, datatype="UINT8", shape=[rows, 1])
    message.raw_input_contents.append(bytes(rows))


def one_of_several(name: str) -> str:
    """Returns the name of one of the frontends of the entry `name`, if it has several."""
    return f"{name}_image"


def as_text(value: object, index: int) -> str:
    """Returns one text to send: a string, or bytes in UTF-8. Raises InputError, which names the index."""
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
    """Like `as_text`, for tasks that do not accept an empty text, as in transformers. Raises InputError."""
    text = as_text(value, index)
    if not text:
        raise InputError(f"text {index} is empty")
    return text
