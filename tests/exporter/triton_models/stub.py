"""Triton's module for Python models in this process, as strict as the real one, and requests to hand to a model's `execute`."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FINAL = 1


def _text(value: object) -> str:
    """As pybind11 converts a str: what cannot be encoded is no str."""
    if not isinstance(value, str):
        raise TypeError("incompatible constructor arguments")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise TypeError("incompatible constructor arguments") from None
    return value


class TritonError(Exception):
    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = "INTERNAL", "INVALID_ARG", "UNAVAILABLE", "CANCELLED"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        super().__init__(_text(message))
        self.message, self.code = message, code


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError("incompatible constructor arguments")
        if array.dtype == np.object_ and not all(isinstance(one, bytes) for one in array.ravel()):
            raise TypeError("cannot convert to bytes")
        self._name, self._array = _text(name), array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class MetricFamily:
    COUNTER, GAUGE = "COUNTER", "GAUGE"

    def __init__(self, name: str, description: str, kind: str) -> None:
        _text(name), _text(description)

    def Metric(self, labels: Mapping[str, str]) -> MetricFamily:  # noqa: N802 - Triton's name
        for label in labels.values():
            _text(label)
        return self

    def increment(self, value: float) -> None:
        assert value > 0

    def set(self, value: float) -> None:
        pass


class Sender:
    """Keeps what is sent. `fails`: how many of the first calls of `send` raise."""

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.sent, self.closed, self.left = fails, [], False, False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self.closed:
            raise RuntimeError("Unable to send response. Response sender has been closed.")
        self.fails -= 1
        if self.fails >= 0:
            raise RuntimeError("no shared memory")
        self.sent.append(response)
        self.closed = flags == FINAL

    def is_cancelled(self) -> bool:
        return self.left


class Request:
    """`inputs`: name -> texts. `outputs`: names, or an error that asking for them raises. `gone`: nobody waits for it."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        outputs: Any = ("logits",),
        gone: bool = False,
        timeout: int = 0,
        sender: Sender | None = None,
    ) -> None:
        self.tensors = {name: _tensor(name, values) for name, values in inputs.items()}
        self._outputs, self.gone, self._timeout = outputs, gone, timeout
        self.sender = sender or Sender()
        self.looks = 0

    def requested_output_names(self) -> list[str]:
        if isinstance(self._outputs, BaseException):
            raise self._outputs
        return list(self._outputs)

    def is_cancelled(self) -> bool:
        self.looks += 1
        return self.gone

    def timeout(self) -> int:
        return self._timeout

    def parameters(self) -> str:
        return ""

    def get_response_sender(self) -> Sender:
        return self.sender


def _tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, np.ndarray):
        return Tensor(name, values)
    given = [value if isinstance(value, bytes) else value.encode() for value in values]
    return Tensor(name, np.array(given, np.object_).reshape(-1, 1))


def module() -> types.ModuleType:
    """Triton's module, as far as frontends use it."""
    made = types.ModuleType("triton_python_backend_utils")
    made.Tensor, made.TritonError, made.InferenceResponse, made.InferenceRequest = (
        Tensor,
        TritonError,
        InferenceResponse,
        Request,
    )
    made.MetricFamily = MetricFamily
    made.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL
    made.get_input_tensor_by_name = lambda request, name: request.tensors.get(name)
    return made


def frontend(name: str) -> types.ModuleType:
    """A frontend's main file, such as `model`, with this module in the place of Triton's."""
    path = f"hf2triton.triton_models.{name}"
    before = {key: sys.modules.get(key) for key in ("triton_python_backend_utils", path)}
    sys.modules["triton_python_backend_utils"] = module()
    sys.modules.pop(path, None)
    try:
        return importlib.import_module(path)
    finally:
        for key, value in before.items():
            sys.modules.pop(key, None)
            if value is not None:
                sys.modules[key] = value
