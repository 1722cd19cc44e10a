"""Graphs of a few nodes, each named after what it gives, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper

from hf2triton.core.types import Graph, GraphInput, GraphOutput
from hf2triton.graph.precision.conversion import rounded_twin, with_precision
from hf2triton.graph.storage import save_graph
from hf2triton.triton_models.executors import open_session

FLOAT = onnx.TensorProto.FLOAT


def op(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """A node; `inputs` with spaces between them, and `domain::` before `kind` where it is not ONNX's own."""
    domain, _, kind = kind.rpartition("::")
    return helper.make_node(kind, inputs.split(), [output], name=output, domain=domain or None, **attributes)


def tiny(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[int | str, ...]],
    outputs: Sequence[str] = ("y",),
    full_precision: Sequence[str] = (),
) -> Graph:
    """An fp32 graph. `inputs`: name -> dims, free ones by name."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    taken = [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in inputs.items()]
    given = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(helper.make_graph(nodes, "g", taken, given, tensors), opset_imports=opsets)
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    model.ir_version = 10
    for node in model.graph:
        for value in node.outputs:
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)  # nothing is inferred of onnxruntime's own ops
    described = tuple(GraphInput(name, "FLOAT", dims) for name, dims in inputs.items())
    rows = tuple(GraphOutput(name, "row", ()) for name in outputs)
    return Graph(model, described, rows, "standard", full_precision=frozenset(full_precision))


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return open_session(str(path), 1)


def answer(model: ir.Model, feeds: Mapping[str, np.ndarray], folder: Path) -> np.ndarray:
    """A model's first output."""
    save_graph(model, folder / "answer.onnx")
    return session_of(folder / "answer.onnx").run(None, dict(feeds))[0]


def twin_answer(graph: Graph, fp32_nodes: Sequence[str], feeds: Mapping[str, np.ndarray], folder: Path) -> np.ndarray:
    """What an fp32 graph gives in fp16, but for its `fp32_nodes`, rounded as a GPU would."""
    return answer(rounded_twin(with_precision(graph, "fp16", fp32_nodes).model), feeds, folder)
