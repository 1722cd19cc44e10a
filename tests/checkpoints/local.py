"""The served pipelines without a server: the files of an entry as Triton would load them, in this process."""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import deserialize_bytes_tensor

from hf2triton_client.errors import ModelNotFound, from_rpc
from hf2triton_client.transport.connection import Request, numbered

_NUMBERS = count()


class LocalConnection:
    """Answers as a `hf2triton_client.Connection` to a server of `repository` would, one request at a time.

    For models that answer at once and hold their graph themselves (the runner `inprocess`).
    """

    max_in_flight = 1

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._models: dict[str, tuple[Any, int]] = {}

    def model_config(self, name: str) -> dict[str, Any]:
        path = self._repository / name / "config.pbtxt"
        if not path.exists():
            raise ModelNotFound(f"there is no {path}")
        parsed = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
        return json_format.MessageToDict(parsed, preserving_proto_field_name=True)

    def find_config(self, name: str) -> dict[str, Any] | None:
        return self.model_config(name) if (self._repository / name).is_dir() else None

    def infer(self, request: Request) -> Result:
        model, version = self._model(request.model)
        message = request.message
        arrays = {
            tensor.name: deserialize_bytes_tensor(content).reshape(list(tensor.shape))
            for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
        }
        [response] = model.execute([_Request(arrays, [output.name for output in message.outputs])])
        if response.error is not None:
            raise from_rpc(response.error.code, numbered(str(response.error), request.first), "here")
        return Result({tensor.name: tensor.array for tensor in response.tensors}, version)

    def infer_all(self, requests: Sequence[Request]) -> list[Result]:
        return [self.infer(request) for request in requests]

    def close(self) -> None:
        pass

    def _model(self, name: str) -> tuple[Any, int]:
        if name not in self._models:
            config = self.model_config(name)
            [version] = config["version_policy"]["specific"]["versions"]
            folder = self._repository / name / version
            package = f"served_{next(_NUMBERS)}"
            sys.modules.setdefault("triton_python_backend_utils", _triton())
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = [str(folder)]
            model = importlib.import_module(f"{package}.model").TritonPythonModel()
            model.initialize(
                {
                    "model_repository": str(folder.parent),
                    "model_version": version,
                    "model_config": json.dumps(config),
                    "model_name": name,
                }
            )
            self._models[name] = model, int(version)
        return self._models[name]


class Result:
    """The outputs of a request, as `tritonclient.grpc.InferResult` gives them."""

    def __init__(self, arrays: dict[str, np.ndarray], version: int) -> None:
        self._arrays = arrays
        self._response = service_pb2.ModelInferResponse(model_version=str(version))

    def as_numpy(self, name: str) -> np.ndarray | None:
        return self._arrays.get(name)

    def get_response(self) -> service_pb2.ModelInferResponse:
        return self._response


class _Request:
    def __init__(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> None:
        self.inputs, self._outputs = inputs, outputs

    def requested_output_names(self) -> list[str]:
        return self._outputs


class _Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> np.ndarray:
        return self.array


class _TritonError(Exception):
    INVALID_ARG, UNAVAILABLE, INTERNAL = "INVALID_ARGUMENT", "UNAVAILABLE", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _Response:
    def __init__(self, tensors: Sequence[_Tensor] = (), error: _TritonError | None = None) -> None:
        self.tensors, self.error = tensors, error


def _triton() -> types.ModuleType:
    """Triton's module for Python models, as far as frontends that answer at once use it."""
    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError, module.InferenceResponse = _Tensor, _TritonError, _Response
    module.get_input_tensor_by_name = lambda request, name: (
        _Tensor(name, request.inputs[name]) if name in request.inputs else None
    )
    return module
