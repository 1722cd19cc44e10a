"""fp32 graph → graph in another precision; for fp16 also a twin that shows the effects of fp16 on a CPU.

The graph's inputs and outputs keep their types: ids are integers and answers are fp32. Only a decoder's state (past and present
keys and values) becomes fp16 with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from ...core.types import Graph
from ...errors import ExportError, UnknownName
from ..passes.initializers import values_of
from ..passes.values import bytes_of, constant_of, input_of, name_of
from .dynamic_quantize import OPS, quantize_products
from .quantize import matrix_of, quantize_weights

FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16
PRECISIONS = ("fp32", "fp16", "int8")


def with_precision(graph: Graph, precision: str, fp32_nodes: Iterable[str] = ()) -> Graph:
    """A copy of the graph in "fp32", "fp16" or "int8"; the nodes named in `fp32_nodes` stay fp32 too.

    Weights are converted when they are written. Raises UnknownName and ExportError.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    keep = graph.full_precision | frozenset(fp32_nodes)
    graph = replace(graph, model=graph.model.clone(), full_precision=keep)
    if precision == "int8":
        # a decoder's steps have one row each, so int8 saves time by reading fewer bytes; elsewhere by multiplying faster
        return quantize_weights(graph) if graph.state else quantize_products(graph)
    if precision == "fp16":
        _Halver(graph.model, keep, graph.state).run()
        inputs = tuple(
            replace(value, dtype="FLOAT16") if value.name in graph.state else value for value in graph.inputs
        )
        graph = replace(graph, inputs=inputs)
    return replace(graph, precision=precision)


def quantizable(graph: Graph) -> list[ir.Node]:
    """The nodes that int8 changes: those that multiply with a constant matrix."""
    ops = ("MatMul",) if graph.state else OPS
    return [
        node
        for node in graph.model.graph
        if node.op_type in ops and not node.domain and matrix_of(input_of(node, 1)) is not None
    ]


class _Halver:
    """Turns a model's weights, arithmetic and `state` into fp16 in place, except for the nodes named in `keep`.

    Every float that a node reads gets the node's type: an initializer is stored in it, and any other value goes through one Cast
    that all its readers share.
    """

    def __init__(self, model: ir.Model, keep: frozenset[str], state: Mapping[str, str]) -> None:
        self.graph = model.graph
        self.keep = keep
        self.state = state
        self._typed: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._initializers = [value for value in self.graph.initializers.values() if value.dtype == FLOAT]

    def run(self) -> None:
        for value in self.graph.inputs:
            if value.name in self.state:
                value.type = ir.TensorType(FLOAT16)
        for node in list(self.graph):
            if any(
                attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
                for attribute in node.attributes.values()
            ):
                raise ExportError(f"node {node.name} ({node.op_type}) holds a subgraph, which cannot be made fp16")
            self._convert(node, FLOAT if node.name in self.keep else FLOAT16)
        for index, output in enumerate(self.graph.outputs):
            wanted = FLOAT16 if output.name in self.state.values() else FLOAT
            if output.dtype in (FLOAT, FLOAT16) and output.dtype != wanted:
                self._cast_output(index, output, wanted)
        for value in self._initializers:
            if not value.uses():
                del self.graph.initializers[name_of(value)]

    def _convert(self, node: ir.Node, dtype: ir.DataType) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (FLOAT, FLOAT16):
                node.replace_input_with(index, self._in_type(value, dtype))
        for value in node.outputs:
            if value.dtype == FLOAT:
                value.type = ir.TensorType(dtype)  # types are shared between clones: never change one in place
        for name, attribute in list(node.attributes.items()):
            if name == "to" and attribute.value == FLOAT.value:
                node.attributes[name] = ir.AttrInt64(name, dtype.value)
            elif attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == FLOAT:
                node.attributes[name] = ir.AttrTensor(name, _as_type(attribute.value, dtype))

    def _in_type(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if value.dtype == dtype:
            return value
        if (value, dtype) not in self._typed:
            self._typed[value, dtype] = self._stored(value, dtype) or self._cast(value, dtype)
        return self._typed[value, dtype]

    def _stored(self, value: ir.Value, dtype: ir.DataType) -> ir.Value | None:
        """An initializer in another type; None for any other value."""
        if not value.is_initializer():
            return None
        name = f"{value.name}_{dtype.name.lower()}"
        stored = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
        stored.const_value = _lazily(constant_of(value), dtype, name)
        self.graph.register_initializer(stored)
        return stored

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        cast = _cast_node(value, dtype)
        _insert_behind(self.graph, value, cast)
        return cast.outputs[0]

    def _cast_output(self, index: int, output: ir.Value, wanted: ir.DataType) -> None:
        """Gives an output of the graph the wanted type and keeps its name."""
        name, output.name = output.name, f"{output.name}_{'float16' if wanted == FLOAT else 'float'}"
        cast = _cast_node(output, wanted, name)
        self.graph.append(cast)
        self.graph.outputs[index] = cast.outputs[0]


def rounded_twin(model: ir.Model) -> ir.Model:
    """A copy of an fp16 model that computes in fp32 and rounds to fp16 after each node that would run in fp16.

    onnxruntime's CPU provider runs fp16 nodes in fp32 and drops the casts between neighbours, which hides overflows that a GPU
    would have. In the twin, each fp16 value of the model goes through explicit casts to fp16 and back, which stay.
    """
    twin = model.clone()
    graph = twin.graph
    # nodes rather than names, which may be missing
    computed_in_half = {
        node for node in graph if any(value is not None and value.dtype == FLOAT16 for value in node.inputs)
    }
    half_values = [value for value in graph.inputs if value.dtype == FLOAT16]
    for value in graph.initializers.values():
        if value.dtype == FLOAT16:
            value.type, value.const_value = ir.TensorType(FLOAT), _lazily(constant_of(value), FLOAT)
    for node in list(graph):
        outputs = [value for value in node.outputs if value.dtype == FLOAT16]
        if node.op_type != "Cast" and node in computed_in_half:
            outputs = [_rounded(graph, node, value) for value in outputs]
        half_values += outputs
    for value in half_values:
        readers = [usage.node for usage in value.uses()]
        if not readers:
            continue
        back = _cast_node(value, FLOAT)
        _insert_behind(graph, value, back)
        for reader in readers:
            for index, read in enumerate(reader.inputs):
                if read is value:
                    reader.replace_input_with(index, back.outputs[0])
    return twin


def _rounded(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value:
    """Makes an fp16 output of a node fp32 (as its inputs will be) and adds a cast to fp16; returns the cast's value."""
    name = f"{value.name}_rounded"
    if value.is_graph_output():
        name, value.name = name_of(value), f"{value.name}_full"
    cast = _cast_node(value, FLOAT16, name)
    graph.insert_after(node, cast)
    if value.is_graph_output():
        graph.outputs[graph.outputs.index(value)] = cast.outputs[0]
    for user, index in [(usage.node, usage.idx) for usage in value.uses()]:
        if user is not cast:
            user.replace_input_with(index, cast.outputs[0])
    value.type = ir.TensorType(FLOAT)
    return cast.outputs[0]


def weight_bytes(model: ir.Model) -> int:
    """The size of all initializers in bytes."""
    return bytes_of(model.graph.initializers.values())


def _insert_behind(graph: ir.Graph, value: ir.Value, node: ir.Node) -> None:
    """Inserts a node after the one that computes a value, or before all others if no node computes it."""
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)


def _cast_node(value: ir.Value, dtype: ir.DataType, name: str | None = None) -> ir.Node:
    name = name or f"{value.name}_as_{dtype.name.lower()}"
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", dtype.value)], outputs=[output], name=f"Cast_{name}")


def _lazily(tensor: ir.TensorProtocol, dtype: ir.DataType, name: str | None = None) -> ir.LazyTensor:
    """A tensor's values in another type, converted when they are written."""
    name = name or tensor.name
    return ir.LazyTensor(
        lambda: _as_type(tensor, dtype, name), dtype=dtype, shape=ir.Shape(tensor.shape.numpy()), name=name, cache=False
    )


def _as_type(tensor: ir.TensorProtocol, dtype: ir.DataType, name: str | None = None) -> ir.Tensor[Any]:
    """A tensor's values in another type; values that fp16 cannot hold become infinite, and parity then fails."""
    with np.errstate(over="ignore"):
        return ir.Tensor(values_of(tensor).astype(dtype.numpy()), name=name or tensor.name)
