"""Reads what every node and value of an exported graph has, but onnx_ir types as optional. All functions raise ExportError."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir


#: The input of MultiHeadAttention that is added to its scores.
BIAS = 5


def name_of(item: ir.Node | ir.Value) -> str:
    if item.name is None:
        raise ExportError(f"the graph has a {type(item).__name__.lower()} without a name: {item}")
    return item.name


def shape_of(value: ir.Value) -> ir.Shape:
    if value.shape is None:
        raise ExportError(f"the value {value.name} has no shape")
    return value.shape


def sizes_of(value: ir.Value, first: int = 0) -> tuple[int, ...]:
    """The dimensions from axis `first` on; all must be numbers."""
    dims = shape_of(value)[first:]
    sizes = tuple(dim for dim in dims if isinstance(dim, int))
    if len(sizes) < len(dims):
        raise ExportError(f"the value {value.name} has a free axis where none may be: {value.shape}")
    return sizes


def constant_of(value: ir.Value) -> ir.TensorProtocol:
    """The tensor of an initializer."""
    if value.const_value is None:
        raise ExportError(f"the value {value.name} is not a constant")
    return value.const_value


def input_of(node: ir.Node, index: int) -> ir.Value:
    """A required input of a node."""
    value = node.inputs[index]
    if value is None:
        raise ExportError(f"node {node.name} ({node.op_type}) lacks its input {index}")
    return value


def producer_of(value: ir.Value) -> ir.Node:
    """The node that computes a value."""
    producer = value.producer()
    if producer is None:
        raise ExportError(f"no node computes the value {value.name}")
    return producer


def bytes_of(values: Iterable[ir.Value]) -> int:
    """The size of initializers."""
    return sum(int(constant_of(value).nbytes) for value in values)


def shares_bias(attention: ir.Node) -> bool:
    """Whether MultiHeadAttention has one bias for all rows or for all heads."""
    bias = attention.inputs[BIAS] if len(attention.inputs) > BIAS else None
    return bias is not None and (bias.shape is None or 1 in bias.shape.dims[:2])
