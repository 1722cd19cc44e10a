"""Servers behind one name that serve versions of a model, in this process: whatever is asked goes to them in turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor

from hf2triton_client.errors import from_rpc
from hf2triton_client.pipelines import TaskPipeline, pipeline_class
from hf2triton_client.transport.connection import Request
from hf2triton_client.transport.runner import BlockingRunner
from hf2triton_client.transport.served_model import FINGERPRINT, ServedModel, fingerprint_of


@dataclass(frozen=True)
class Version:
    """A version of the model `name`. `answer`: inputs of an item -> its outputs. `named`: whether the config says its number."""

    settings: Mapping[str, Any]
    number: int = 1
    answer: Callable[[dict[str, str]], dict[str, Any]] = lambda item: {"logits": [0.0, 1.0]}
    max_batch_size: int = 8
    name: str = "model"
    named: bool = True
    stamped: bool = True

    @property
    def config(self) -> dict[str, Any]:
        outputs = {"logits": "row", "embedding": "row", **({FINGERPRINT: "row"} if self.stamped else {})}
        settings = {"format": 1, "inputs": {"text": True}, "outputs": outputs, "problem_type": None, **self.settings}
        return {
            "name": self.name,
            "max_batch_size": self.max_batch_size,
            "version_policy": {"specific": {"versions": [str(self.number)]}} if self.named else {},
            "parameters": {"hf2triton": {"string_value": json.dumps(settings)}},
        }

    def infer(self, request: Request) -> Answer:
        """As Triton and a frontend do it; a request of the wrong shape is refused in Triton's words."""
        message = request.message
        rows = message.inputs[0].shape[0]
        known = json.loads(self.config["parameters"]["hf2triton"]["string_value"])
        if rows > self.max_batch_size:
            refused = (
                f"[request id: <id_unknown>] inference request batch-size must be <= {self.max_batch_size} for 'model'"
            )
            raise from_rpc("StatusCode.INVALID_ARGUMENT", refused, "here")
        for output in message.outputs:
            if output.name not in known["outputs"]:
                refused = f"unexpected inference output '{output.name}' for model 'model'"
                raise from_rpc("StatusCode.INVALID_ARGUMENT", refused, "here")
        columns = {}
        for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True):
            if tensor.name not in known["inputs"]:
                refused = f"unexpected inference input '{tensor.name}' for model 'model'"
                raise from_rpc("StatusCode.INVALID_ARGUMENT", refused, "here")
            columns[tensor.name] = [value.decode() for value in deserialize_bytes_tensor(content)]
        items = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        answers = [self.answer(item) for item in items]
        arrays = {name: np.array([one[name] for one in answers], np.float32) for name in answers[0]}
        if FINGERPRINT in [output.name for output in message.outputs]:
            own = fingerprint_of(self.config["parameters"]["hf2triton"]["string_value"])
            arrays[FINGERPRINT] = np.full((rows, 1), own, np.int64)
        return Answer(arrays, self.number)


class Answer:
    """The outputs of a request, as `tritonclient.grpc.InferResult` gives them."""

    def __init__(self, arrays: dict[str, np.ndarray], version: int) -> None:
        self._arrays, self._version = arrays, version

    def as_numpy(self, name: str) -> np.ndarray | None:
        return self._arrays.get(name)

    def get_response(self) -> service_pb2.ModelInferResponse:
        return service_pb2.ModelInferResponse(model_version=str(self._version))


@dataclass
class Servers:
    """`serving`: what each server serves now, which a test changes. `turns`: whose turn it is next. `configs`: how often a config
    was asked for; `requests`: those that were sent."""

    serving: list[list[Version]]
    turns: int = 0
    configs: int = 0
    requests: list[Request] = field(default_factory=list)
    max_in_flight: int = 4

    def infer_all(self, requests: Sequence[Request]) -> list[Answer]:
        return [self._infer(request) for request in requests]

    def find_config(self, name: str, version: str = "") -> dict[str, Any] | None:
        self.configs += 1
        served = [one for one in self._next() if one.name == name and version in ("", str(one.number))]
        return served[0].config if served else None

    def _infer(self, request: Request) -> Answer:
        self.requests.append(request)
        [version] = [one for one in self._next() if one.name == request.model]
        return version.infer(request)

    def _next(self) -> list[Version]:
        self.turns += 1
        return self.serving[self.turns % len(self.serving)]


def open_pipeline(servers: Servers, task: str | None = None, reads: Sequence[str] = ("",)) -> TaskPipeline:
    """A pipeline that knows what the first server serves."""
    models = dict(zip(reads, (ServedModel.from_config(one.config) for one in servers.serving[0]), strict=True))
    return pipeline_class(task, models)(models, BlockingRunner(servers, owned=False), {})
