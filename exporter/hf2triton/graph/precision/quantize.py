"""fp32 graph → graph with int8 weights, which onnxruntime multiplies by int8 states.

A MatMul of states `x [..., K]` with a constant matrix `[K, N]`, and its bias, become one MatMulNBits
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits). The matrix is transposed
and cut along K into blocks; the last block is filled up with 128:

    weight[k, n] ≈ scales[n, k // BLOCK] · (stored[n, k // BLOCK, k % BLOCK] - 128)

The op rounds `x` to int8 with a scale for each block of each row, so a row's answer does not depend on the other rows;
llama.cpp's Q8_0 computes the same way. On x86 the op needs onnxruntime 1.22 and AVX2; on ARM, 1.22 rejects it
(https://github.com/microsoft/onnxruntime/issues/24769). Without AVX2, and in sessions with `session.disable_prepacking`, it
converts the weights to fp32 in each call: this takes fifty times as long and does not round `x`, so measured errors are too
small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...core.types import Graph
from ...errors import ExportError
from ..passes.initializers import add_initializer
from ..passes.values import constant_of, input_of, name_of, shape_of

#: The number of values that share a scale. With 128, a decoder's step takes a quarter less time and its logits are a quarter less
#: exact, or worse if a few states are far larger than the rest. Up to 32, the op sums in the same order for one row and for many,
#: so a row's product has the same bits in any batch.
BLOCK = 32
#: The stored value of zero.
_ZERO = 128
#: The op's name for int8 states; see "accuracy_level" in its documentation.
_INT8_STATES = 4


@dataclass(frozen=True)
class _Stored:
    """A quantized matrix: uint8 `values [N, blocks, BLOCK]` and fp32 `scales [N, blocks]`. `count` is N, `size` is K."""

    values: ir.Value
    scales: ir.Value
    count: int
    size: int
    blocks: int


def quantize_weights(graph: Graph) -> Graph:
    """Stores the matrices of MatMuls as int8; changes the model in place, one weight after another.

    A table that serves both lookups and products (a head tied to the embedding) is stored once: a lookup reads int8 rows and
    converts them to fp32. Other tables stay fp32, since a lookup reads few of their rows and would only lose accuracy. Biases,
    normalisation, products of states with states, the decoder's state and the nodes named in `graph.full_precision` also stay
    fp32. Raises ExportError for weights that are not finite.
    """
    onnx_graph = graph.model.graph
    products = _products(onnx_graph, graph.full_precision)
    for (weight, transposed), nodes in products.items():
        stored = _store(onnx_graph, weight, transposed)
        for node in nodes:
            _multiply(onnx_graph, node, stored)
        for node in _lookups(weight) if transposed else ():
            _look_up(onnx_graph, node, stored)
        _drop_unread(onnx_graph, weight)
    if products:
        graph.model.opset_imports["com.microsoft"] = 1
    return replace(graph, precision="int8")


def quantize_rows(rows: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """fp32 `[N, K]` → uint8 `[N, blocks, BLOCK]` and fp32 scales `[N, blocks]`; each value is within half its scale.

    A block's value of largest magnitude becomes 1 or 255. A block of zeros has the scale 0.
    """
    count, size = rows.shape
    blocks = np.zeros((count, -(-size // BLOCK), BLOCK), np.float32)
    blocks.reshape(count, -1)[:, :size] = rows
    scales = np.maximum(blocks.max(axis=2), -blocks.min(axis=2)) / np.float32(_ZERO - 1)
    np.divide(blocks, scales[..., None], out=blocks, where=scales[..., None] > 0)
    np.rint(blocks, out=blocks)
    blocks += _ZERO
    return blocks.astype(np.uint8), scales


def _products(graph: ir.Graph, keep: frozenset[str]) -> dict[tuple[ir.Value, bool], list[ir.Node]]:
    """Result of `matrix_of` -> the MatMuls with that constant matrix, except those named in `keep`."""
    products: dict[tuple[ir.Value, bool], list[ir.Node]] = {}
    for node in graph:
        if _is(node, "MatMul") and node.name not in keep:
            matrix = matrix_of(input_of(node, 1))
            if matrix is not None:
                products.setdefault(matrix, []).append(node)
    return products


def matrix_of(factor: ir.Value) -> tuple[ir.Value, bool] | None:
    """The constant fp32 matrix behind a factor `[K, N]`, and whether it is stored transposed, as `[N, K]`; None without one."""
    producer = factor.producer()
    transpose = producer if producer is not None and _is(producer, "Transpose") else None
    stored = factor if transpose is None else input_of(transpose, 0)
    if not _is_constant(stored) or stored.dtype != ir.DataType.FLOAT or len(shape_of(stored)) != 2:
        return None
    if transpose is not None and list(transpose.attributes.get_ints("perm", [1, 0])) != [1, 0]:
        return None
    return stored, transpose is not None


def _is(node: ir.Node, op_type: str) -> bool:
    """Whether a node is that standard ONNX op."""
    return (node.domain, node.op_type) == ("", op_type)


def _is_constant(value: ir.Value) -> bool:
    """Whether callers cannot change a value: an initializer that is also an input is only a default."""
    return value.is_initializer() and not value.is_graph_input()


def _store(graph: ir.Graph, weight: ir.Value, transposed: bool) -> _Stored:
    """Adds the quantized matrix to the graph; the fp32 one stays until no node reads it."""
    matrix = constant_of(weight).numpy()
    rows = matrix if transposed else matrix.T
    with np.errstate(invalid="ignore"):
        values, scales = quantize_rows(rows)
    if not np.isfinite(scales).all():
        raise ExportError(f"the weight {weight.name} has values that are not finite, which int8 cannot hold")
    return _Stored(
        _constant(graph, f"{weight.name}_int8", values),
        _constant(graph, f"{weight.name}_scales", scales),
        rows.shape[0],
        rows.shape[1],
        values.shape[1],
    )


def _multiply(graph: ir.Graph, node: ir.Node, stored: _Stored) -> None:
    """Replaces a MatMul, and the Add of its bias, with a MatMulNBits."""
    biased = _add_of_bias(node, stored.count)
    bias = (
        () if biased is None else (None, None, biased[1])
    )  # the inputs before the bias: zero points, by default 128, and a deprecated one
    last = node if biased is None else biased[0]
    attributes = {"K": stored.size, "N": stored.count, "bits": 8, "block_size": BLOCK, "accuracy_level": _INT8_STATES}
    product = ir.node(
        "MatMulNBits",
        [node.inputs[0], stored.values, stored.scales, *bias],
        attributes,
        domain="com.microsoft",
        name=node.name,
    )
    _replace(graph, last, [product])
    if last is not node:
        graph.remove(node, safe=True)


def _add_of_bias(node: ir.Node, count: int) -> tuple[ir.Node, ir.Value] | None:
    """The Add that is a product's only reader, and the constant of `count` values that it adds; None if there is none."""
    product = node.outputs[0]
    if product.is_graph_output() or len(product.uses()) != 1:
        return None
    [(add, index)] = product.uses()
    if not _is(add, "Add"):
        return None
    bias = input_of(add, 1 - index)
    return (add, bias) if _is_constant(bias) and bias.shape == (count,) else None


def _lookups(table: ir.Value) -> list[ir.Node]:
    """The Gathers of a table's rows."""
    return [
        node
        for node, index in table.uses()
        if _is(node, "Gather")
        and index == 0
        and node.attributes.get_int("axis", 0) == 0
        and input_of(node, 1).shape is not None
    ]


def _look_up(graph: ir.Graph, node: ir.Node, stored: _Stored) -> None:
    """Replaces a Gather of rows with a lookup in int8; the rows become fp32 block by block."""
    name, ids = node.outputs[0].name, input_of(node, 1)
    tape = ir.tape.Tape()

    def op(kind: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        label = f"{name}_{kind.lower()}_{len(tape.nodes)}"  # onnx_ir's choice may be an initializer's name
        return tape.op(kind, inputs, attributes, name=label, output=ir.Value(name=label))

    def integers(what: str, *values: int) -> ir.Value:
        return _constant(graph, f"{name}_{what}", np.array(values, np.int64))

    last_axis = integers("last_axis", -1)
    values = op("Cast", [op("Gather", [stored.values, ids])], to=ir.DataType.FLOAT.value)
    scales = op("Unsqueeze", [op("Gather", [stored.scales, ids]), last_axis])
    zero = _constant(graph, f"{name}_zero", np.array(_ZERO, np.float32))
    blocks = op("Mul", [op("Sub", [values, zero]), scales])
    filled_up = stored.blocks * BLOCK
    kept = [0] * len(shape_of(ids))  # Reshape keeps a dimension given as 0
    rows = op("Reshape", [blocks, integers("shape", *kept, filled_up)])
    if filled_up != stored.size:
        op("Slice", [rows, integers("start", 0), integers("end", stored.size), last_axis])
    _replace(graph, node, tape.nodes)


def _drop_unread(graph: ir.Graph, weight: ir.Value) -> None:
    """Removes an fp32 weight, and its Transposes, if no node reads them any more."""
    for node in [usage.node for usage in weight.uses() if _is(usage.node, "Transpose")]:
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)
    if not weight.uses() and not weight.is_graph_output():
        del graph.initializers[name_of(weight)]
        weight.const_value = None  # onnx_ir keeps a removed value alive, but its data can be freed


def _replace(graph: ir.Graph, node: ir.Node, new: Sequence[ir.Node]) -> None:
    """Replaces a node with several; the last one takes over its outputs."""
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, node.outputs, new[-1].outputs)


def _constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """A new initializer."""
    return add_initializer(graph, ir.Tensor(array, name=name))
