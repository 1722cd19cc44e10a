"""A request as a recipe that JSON can hold, so that each one which breaks something can be kept."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import service_pb2

CORPUS = Path(__file__).parents[1] / "corpus"

#: Bytes, as JSON: {"text": …}, {"base64": …}, {"file": of the corpus}, {"repeat": [bytes, count]}, {"join": [bytes, …]}, or
#: {"item": bytes}, which has the length before it that Triton's BYTES have, or `length` in its place.
Recipe = Mapping[str, Any]
#: What may become of an example: "refused" or "answered" as it should be, or either.
EXPECTATIONS = ("refused", "answered", "either")


@dataclass(frozen=True)
class Example:
    """`task`: whose model is asked; `reads`: which of its frontends, or "graph" for the model behind it. `request`: `inputs`
    (name, datatype, shape, and `contents` if not raw), `raw`, `outputs`, `parameters`, `id`, `version`. `alone`: what is merged
    with it may fail with it, which is the fault of Triton's own Python backend. `why`: what it did once, or is to show."""

    task: str
    request: Mapping[str, Any]
    expect: str = "either"
    reads: str = ""
    why: str = ""
    alone: bool = False

    def message(self, frontend: str) -> service_pb2.ModelInferRequest:
        given = self.request
        message = service_pb2.ModelInferRequest(
            model_name=frontend, model_version=given.get("version", ""), id=given.get("id", "")
        )
        for one in given["inputs"]:
            tensor = message.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
            for field, values in one.get("contents", {}).items():
                own = [bytes_of(value) for value in values] if field == "bytes_contents" else values
                getattr(tensor.contents, field).extend(own)
            _set(tensor.parameters, one.get("parameters", {}))
        message.raw_input_contents.extend(bytes_of(recipe) for recipe in given.get("raw", ()))
        for name in given.get("outputs", ()):
            message.outputs.add(name=name)
        _set(message.parameters, given.get("parameters", {}))
        return message


def _set(parameters: Any, values: Mapping[str, Any]) -> None:
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in values.items():
        setattr(parameters[name], fields[type(value)], value)


def bytes_of(recipe: Recipe) -> bytes:
    """What a recipe makes. Raises ValueError for one that is unknown."""
    match recipe:
        case {"text": text}:
            return text.encode()
        case {"base64": text}:
            return base64.b64decode(text)
        case {"file": name}:
            return (CORPUS / name).read_bytes()
        case {"repeat": [part, count]}:
            return bytes_of(part) * count
        case {"join": parts}:
            return b"".join(map(bytes_of, parts))
        case {"item": part, **more}:
            content = bytes_of(part)
            return struct.pack("<I", more.get("length", len(content))) + content
    raise ValueError(f"{recipe} is no recipe for bytes")


def recipe_of(content: bytes) -> dict[str, str]:
    """The recipe of some bytes, as text where they are."""
    try:
        return {"text": content.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def strings(
    task: str, inputs: Mapping[str, Sequence[Recipe]], outputs: Sequence[str] = (), reads: str = "", **more: Any
) -> Example:
    """A well-formed request of strings: what they hold may be anything."""
    rows = len(next(iter(inputs.values())))
    shape = [1] if task == "text-generation" else [rows, 1]
    request = {
        "inputs": [{"name": name, "datatype": "BYTES", "shape": shape} for name in inputs],
        "raw": [{"join": [{"item": recipe} for recipe in values]} for values in inputs.values()],
        "outputs": list(outputs),
    }
    return Example(task, request, reads=reads, **more)


#: Task -> what a frontend of it is asked for.
OUTPUTS = {
    "text-classification": ("logits", "num_tokens", "num_truncated_tokens"),
    "token-classification": ("logits", "tokens", "offsets", "num_tokens"),
    "question-answering": ("answers",),
    "fill-mask": ("answers",),
    "image-classification": ("logits",),
    "zero-shot-image-classification": ("embedding",),
    "text-generation": ("text_output",),
}
