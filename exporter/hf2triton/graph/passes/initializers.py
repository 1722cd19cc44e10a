"""Constants of a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def add_initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """A new initializer under the tensor's name."""
    value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def values_of(tensor: ir.TensorProtocol) -> np.ndarray:
    """A tensor's values. Of one in a file they are a copy, so that the file is no longer mapped: that counts as memory."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor.numpy()
    array = tensor.numpy().copy()
    tensor.release()
    return array
