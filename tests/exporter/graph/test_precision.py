"""fp16: weights and arithmetic are really converted, and the twin shows what a GPU would meet."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hf2triton.core.types import Graph, GraphInput, GraphOutput
from hf2triton.errors import UnknownName
from hf2triton.graph.precision.conversion import rounded_twin, weight_bytes, with_precision
from hf2triton.graph.storage import save_graph


def make_graph(nodes, weights, full_precision=(), ids=False):
    """A graph from `x` (fp32 [batch, 64], or int64 ids) to `y` (fp32 [batch, 64])."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.INT64 if ids else TensorProto.FLOAT, ["batch", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    model.ir_version = 10
    inputs = (GraphInput("x", "INT64" if ids else "FLOAT", ("batch", 64)),)
    outputs = (GraphOutput("y", "row", (64,)),)
    return Graph(ir.serde.deserialize_model(model), inputs, outputs, "standard", "fp32", frozenset(full_precision))


def overflowing(**options):
    """x · 30 sums to 192,000 where x is 100, beyond fp16's 65,504, and is then scaled down again."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Mul", ["product", "scale"], ["y"], name="scaled"),
    ]
    return make_graph(nodes, {"w": np.full((64, 64), 30, np.float32), "scale": np.float32(1e-3)}, **options)


def run(model: ir.Model, x: np.ndarray, tmp_path) -> np.ndarray:
    save_graph(model, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_weights_and_arithmetic_become_fp16(tmp_path):
    """Weights take half the bytes, nodes compute in fp16, and inputs and outputs keep their types."""
    graph = overflowing()
    before = weight_bytes(graph.model)
    graph = with_precision(graph, "fp16")
    assert weight_bytes(graph.model) == before / 2
    nodes = {node.name: node for node in graph.model.graph}
    assert {value.dtype for value in nodes["product"].inputs} == {ir.DataType.FLOAT16}
    assert graph.model.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert graph.model.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert graph.model.graph.outputs[0].name == "y"
    assert run(graph.model, np.ones((2, 64), np.float32), tmp_path).dtype == np.float32


def test_the_twin_shows_an_overflow_that_the_cpu_hides(tmp_path):
    """onnxruntime's CPU provider gives a finite answer where fp16 overflows; the twin gives infinity."""
    graph = with_precision(overflowing(), "fp16")
    x = np.full((1, 64), 100, np.float32)
    assert np.isfinite(run(graph.model, x, tmp_path)).all()
    assert np.isinf(run(rounded_twin(graph.model), x, tmp_path)).all()


def test_a_node_that_stays_fp32_does_not_overflow(tmp_path):
    """With both nodes in full precision the twin gives the right answer, and their weights stay fp32."""
    graph = with_precision(overflowing(full_precision=["product", "scaled"]), "fp16")
    x = np.full((1, 64), 100, np.float32)
    np.testing.assert_allclose(run(rounded_twin(graph.model), x, tmp_path), 192, rtol=1e-3)
    assert weight_bytes(graph.model) == 64 * 64 * 4 + 4


def test_a_weight_read_by_both_is_kept_in_both(tmp_path):
    """A weight that an fp16 node and an fp32 node read exists once in each type."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="half"),
        helper.make_node("MatMul", ["x", "w"], ["b"], name="full"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    graph = make_graph(nodes, {"w": np.full((64, 64), 0.1, np.float32)}, ["full", "sum"])
    graph = with_precision(graph, "fp16")
    assert weight_bytes(graph.model) == 64 * 64 * (2 + 4)
    np.testing.assert_allclose(run(graph.model, np.ones((1, 64), np.float32), tmp_path), 12.8, rtol=1e-3)


@pytest.mark.parametrize("op", ["Cast", "ConstantOfShape"])
def test_types_inside_attributes_follow(tmp_path, op):
    """Nodes that name a type themselves make fp16 as well."""
    nodes = {
        "Cast": [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT, name="to_float")],
        "ConstantOfShape": [
            helper.make_node("Shape", ["x"], ["shape"], name="shape"),
            helper.make_node(
                "ConstantOfShape", ["shape"], ["f"], value=numpy_helper.from_array(np.ones(1, np.float32)), name="ones"
            ),
        ],
    }[op]
    nodes.append(helper.make_node("Mul", ["f", "two"], ["y"], name="double"))
    graph = with_precision(make_graph(nodes, {"two": np.float32(2)}, ids=True), "fp16")
    x = np.ones((2, 64), np.int64)
    for model in (graph.model, rounded_twin(graph.model)):
        np.testing.assert_array_equal(run(model, x, tmp_path), np.full((2, 64), 2, np.float32))


def test_the_twin_rounds_as_fp16_does(tmp_path):
    """A twin's answer is exactly the one that fp16 numbers give, step by step."""
    nodes = [
        helper.make_node("Mul", ["x", "third"], ["a"], name="a"),
        helper.make_node("Add", ["a", "third"], ["y"], name="b"),
    ]
    graph = with_precision(make_graph(nodes, {"third": np.float32(1 / 3)}), "fp16")
    x = np.linspace(-9, 9, 64, dtype=np.float32)[None]
    third = np.float16(1 / 3)
    product = (x.astype(np.float16).astype(np.float32) * np.float32(third)).astype(np.float16)
    expected = (product.astype(np.float32) + np.float32(third)).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run(rounded_twin(graph.model), x, tmp_path), expected)


def test_an_unknown_precision_lists_the_known():
    """The error lists the precisions there are."""
    with pytest.raises(UnknownName, match="fp32, fp16"):
        with_precision(overflowing(), "bf16")
