"""Constants of a graph."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray


def add_initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """Registers a tensor as a new initializer under its own name."""
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def values_of(tensor: ir.TensorProtocol) -> NDArray[Any]:
    """A tensor's values. Values from a file are copied: a file that stays mapped counts as memory."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor.numpy()
    array: NDArray[Any] = tensor.numpy().copy()
    tensor.release()
    return array
