"""Measures the values inside a graph: their range, and how fp16 would change each of them.

The fp32 graph runs over real inputs and computes every node twice: unchanged, and alone in fp16, with its inputs and output
rounded. Only a few numbers per node leave the graph, so a measurement takes little more memory than any other run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from ...core.types import Graph, NodeRange
from ...triton_models.executors import Feeds
from ..passes.initializers import add_initializer
from ..passes.values import BIAS, input_of, name_of
from .conversion import FLOAT, FLOAT16

#: Attention ops -> the attributes that hold the number of heads of their queries and keys.
_HEADS = {"MultiHeadAttention": ("num_heads", "num_heads"), "GroupQueryAttention": ("num_heads", "kv_num_heads")}
#: Measurement of each node -> how those of two calls are combined.
_TAPS: Mapping[str, Callable[..., NDArray[Any]]] = {
    "peak": np.maximum,
    "scores": np.maximum,
    "square": np.add,
    "error": np.add,
    "count": np.add,
}


def measure_ranges(graph: Graph, batches: Iterable[Feeds], folder: Path) -> dict[str, NodeRange]:
    """Name -> range, for each node of an fp32 graph that computes floats. `folder`: where `unload` put its weights."""
    probe = _Probe(graph.model.clone())
    session = open_probe(probe.model, folder)
    totals: NDArray[np.float64] | None = None
    for feeds in batches:
        numbers = np.array(session.run(None, dict(feeds)), np.float64).reshape(-1, len(_TAPS)).T
        if totals is None:
            totals = numbers
        else:
            totals = np.array([join(*pair) for join, *pair in zip(_TAPS.values(), totals, numbers, strict=True)])
    columns = np.array(totals).T.tolist()
    return {name: _range(*numbers) for name, numbers in zip(probe.nodes, columns, strict=True)}


def open_probe(model: ir.Model, folder: Path) -> onnxruntime.InferenceSession:
    """A session that computes a changed copy of a graph node by node, unoptimized. The graph's weights are in `folder`."""
    path = folder / "probe.onnx"
    ir.save(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")  # prepacking would copy the weights
    # follow the graph's order where possible: a node's memory is then free once it is measured
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # optimizations would drop the casts, or fold them into copies of the weights
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _range(peak: float, scores: float, square: float, error: float, count: float) -> NodeRange:
    rms = (square / count) ** 0.5
    if not np.isfinite(error):
        return NodeRange(peak, rms, float("inf"), scores)
    return NodeRange(peak, rms, (error / square) ** 0.5 if square else 0.0, scores)


class _Probe:
    """A model whose outputs are the `_TAPS` of each of `nodes`, in this order."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.nodes: list[str] = []
        self._graph = model.graph
        self._tape = ir.tape.Tape()
        self._numbers = itertools.count()
        self._rounded: dict[ir.Value, ir.Value] = {}
        self._none = self._constant(np.float32(0))
        self._graph.outputs.clear()
        for node in list(self._graph):
            if any(value.dtype == FLOAT for value in node.outputs):
                self._tape = ir.tape.Tape()
                self._tap(node)
                self._graph.insert_after(node, self._tape.nodes)

    def _tap(self, node: ir.Node) -> None:
        # attention's other outputs are its state: the keys and values that it reads, which have their own taps
        value = node.outputs[0]
        difference = self._op("Sub", [self._round(self._alone(node)), value])
        taps = {
            "peak": self._op("ReduceMax", [self._op("Abs", [value])], keepdims=0),
            "scores": self._scores(node) if node.op_type in _HEADS else self._none,
            "square": self._op("ReduceSumSquare", [value], keepdims=0),
            "error": self._op("ReduceSumSquare", [difference], keepdims=0),
            "count": self._op("Cast", [self._op("Size", [value])], to=FLOAT.value),
        }
        self.nodes.append(name_of(node))
        # one output for each tap, even if several are the same value
        self._graph.outputs.extend(self._op("Identity", [taps[name]]) for name in _TAPS)

    def _alone(self, node: ir.Node) -> ir.Value:
        """The first output of a node when its inputs are rounded to fp16. For a lookup the caller rounds only the output, which
        saves rounding the whole table."""
        if node.op_type == "Gather":
            return node.outputs[0]
        inputs = [self._round(value) if value is not None and value.dtype == FLOAT else value for value in node.inputs]
        outputs = [ir.Value(name=self._name(), shape=value.shape, type=value.type) for value in node.outputs]
        self._tape.op_multi_out(
            node.op_type, inputs, node.attributes, domain=node.domain, name=self._name(), outputs=outputs
        )
        return outputs[0]

    def _round(self, value: ir.Value) -> ir.Value:
        """A value rounded to fp16, in fp32."""
        if value not in self._rounded:
            half = self._op("Cast", [value], to=FLOAT16.value)
            self._rounded[value] = self._op("Cast", [half], to=FLOAT.value)
        return self._rounded[value]

    def _scores(self, attention: ir.Node) -> ir.Value:
        """The longest query of any head times its longest key, scaled, plus the largest bias: no score exceeds it
        (Cauchy-Schwarz)."""
        bound = self._constant(np.float32(attention.attributes.get_float("scale")))
        last = self._constant(np.array([-1]))
        for index, heads in enumerate(_HEADS[attention.op_type]):
            shape = self._constant(np.array([0, 0, attention.attributes.get_int(heads), -1]))
            split = self._op("Reshape", [input_of(attention, index), shape])
            squares = self._op("ReduceSumSquare", [split, last], keepdims=0)
            bound = self._op("Mul", [bound, self._op("Sqrt", [self._op("ReduceMax", [squares], keepdims=0)])])
        if attention.op_type == "MultiHeadAttention" and len(attention.inputs) > BIAS:
            largest = self._op("ReduceMax", [self._op("Abs", [input_of(attention, BIAS)])], keepdims=0)
            bound = self._op("Add", [bound, largest])
        return bound

    def _op(self, kind: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        return self._tape.op(kind, inputs, attributes, name=self._name(), output=ir.Value(name=self._name()))

    def _constant(self, array: ArrayLike) -> ir.Value:
        return add_initializer(self._graph, ir.Tensor(np.asarray(array), name=self._name()))

    def _name(self) -> str:
        return f"probe:{next(self._numbers)}"
