"""Evens out the channels that a product reads before it becomes int8, where all channels share one scale.

A few channels of a transformer's states are far larger than the rest, so a common scale leaves few steps for the rest. Dividing
a channel and multiplying its row of the matrix by the same number changes no product (SmoothQuant,
https://arxiv.org/abs/2211.10438); with powers of two, not a single bit changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...core.types import Graph
from ...triton_models.executors import Feeds
from ..passes.initializers import add_initializer, values_of
from ..passes.values import constant_of, input_of, name_of, shape_of
from .calibration import open_probe
from .conversion import FLOAT, quantizable

#: The share of a channel's size that moves to the matrix. With 0.7, all-MiniLM-L6-v2's int8 embeddings have a cosine of at least
#: 0.989 with PyTorch's; with 0.5, or without smoothing, 0.96.
SHARE = 0.7
#: Channels and rows below this count as empty.
_EMPTY = 1e-5


def smooth(graph: Graph, batches: Iterable[Feeds], folder: Path) -> Graph:
    """A copy of an fp32 graph whose products with constants read channels of similar size, based on calibration inputs.
    `folder`: where `unload` put its weights."""
    model = graph.model.clone()
    readers: dict[ir.Value, list[ir.Node]] = {}
    smoothed = replace(graph, model=model)
    for node in quantizable(smoothed):
        if input_of(node, 1).is_initializer() and not node.attributes.get_int("transA", 0):
            readers.setdefault(input_of(node, 0), []).append(node)
    if not readers:
        return graph
    peaks = _channel_peaks(graph, [name_of(value) for value in readers], batches, folder)
    for value, nodes in readers.items():
        _divide(model.graph, value, nodes, _scales(peaks[name_of(value)], nodes))
    return smoothed


def _channel_peaks(
    graph: Graph, names: Sequence[str], batches: Iterable[Feeds], folder: Path
) -> Mapping[str, NDArray[Any]]:
    """The largest magnitude of each channel (the last axis) of some values, `[channels]` each."""
    model = graph.model.clone()
    tape = ir.tape.Tape(model.graph)
    values = {value.name: value for value in model.graph.inputs}
    values |= {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.clear()
    for name in names:
        axes = tape.initializer(ir.Tensor(np.arange(len(shape_of(values[name])) - 1), name=f"probe:{name}:axes"))
        size = tape.op("Abs", [values[name]], output=ir.Value(name=f"probe:{name}:size"))
        peak = tape.op("ReduceMax", [size, axes], {"keepdims": 0}, output=ir.Value(name=f"probe:{name}"))
        model.graph.outputs.append(peak)
    session = open_probe(model, folder)
    peaks = [session.run(None, dict(feeds)) for feeds in batches]
    return {name: np.max(own, axis=0) for name, *own in zip(names, *peaks, strict=True)}


def _scales(peaks: NDArray[Any], nodes: Sequence[ir.Node]) -> NDArray[np.float32]:
    """The divisor of each channel, `[channels]`: powers of two."""
    rows = np.max([np.abs(_matrix(node)).max(axis=1 - _axis(node)) for node in nodes], axis=0)
    known = (peaks > _EMPTY) & (rows > _EMPTY)
    exponents = SHARE * np.log2(np.where(known, peaks, 1)) - (1 - SHARE) * np.log2(np.where(known, rows, 1))
    scales: NDArray[np.float32] = np.exp2(np.rint(np.where(known, exponents, 0))).astype(np.float32)
    return scales


def _divide(graph: ir.Graph, value: ir.Value, nodes: Sequence[ir.Node], scales: NDArray[np.float32]) -> None:
    """Makes nodes read a value with divided channels, and their matrices with multiplied rows."""
    factors = add_initializer(graph, ir.Tensor(1 / scales, name=f"{value.name}:channels"))
    even = ir.Value(name=f"{value.name}:even", shape=value.shape, type=value.type)
    graph.insert_before(nodes[0], ir.Node("", "Mul", [value, factors], outputs=[even], name=f"{nodes[0].name}:even"))
    for node in nodes:
        matrix = constant_of(input_of(node, 1))
        name = f"{node.name}:matrix"
        product = ir.LazyTensor(
            partial(_product, matrix, scales, _axis(node), name),
            dtype=FLOAT,
            shape=ir.Shape(matrix.shape.numpy()),
            name=name,
            cache=False,
        )
        node.replace_input_with(0, even)
        node.replace_input_with(1, add_initializer(graph, product))
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def _product(matrix: ir.TensorProtocol, scales: NDArray[np.float32], axis: int, name: str) -> ir.Tensor[Any]:
    return ir.Tensor(values_of(matrix) * np.expand_dims(scales, 1 - axis), name=name)


def _matrix(node: ir.Node) -> NDArray[Any]:
    return values_of(constant_of(input_of(node, 1)))


def _axis(node: ir.Node) -> int:
    """The axis of a node's matrix that belongs to the channels of its states."""
    return node.attributes.get_int("transB", 0)
