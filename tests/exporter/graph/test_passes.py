"""Clean-ups keep what a graph computes."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from hf2triton.graph.passes.cleaning import RemoveNeedlessReshapes
from hf2triton.graph.passes.release import find_release, first_release, fit

from .tiny import answer, op, tiny


def reshapes(first, second, shapes):
    """x [batch, 6] → Reshape → Reshape → Neg, with the shapes that tracing recorded."""
    weights = [numpy_helper.from_array(np.array(shape, np.int64), f"s{i}") for i, shape in enumerate((first, second))]
    nodes = [
        helper.make_node("Reshape", ["x", "s0"], ["a"]),
        helper.make_node("Reshape", ["a", "s1"], ["b"]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip("ab", shapes, strict=True)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], weights, value_info=values)
    return ir.serde.deserialize_model(helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]))


def test_a_chain_that_comes_back_is_dropped():
    """Splitting off a dimension and joining it again is no work."""
    model = reshapes([-1, 2, 3], [-1, 6], (["batch", 2, 3], ["batch", 6]))
    assert RemoveNeedlessReshapes()(model).modified
    assert model.graph[-1].inputs[0].name == "x"


def test_a_chain_that_ends_elsewhere_stays():
    """A reshape into another shape is kept, and so is one whose shape is not known."""
    for shapes in ((["batch", 2, 3], ["batch", 3, 2]), ([None, 2, 3], [None, 6])):
        model = reshapes([-1, 2, 3], [-1, 6], shapes)
        assert not RemoveNeedlessReshapes()(model).modified


@pytest.mark.parametrize("shape", [(1, 2), (1, 1)])
def test_an_old_release_gets_a_bias_for_each_row(tmp_path, shape):
    """The bias of one row is repeated once for all layers, and the answers stay the same."""
    dims, rng = ("batch", "sequence", 8), np.random.default_rng(0)
    nodes = [op("com.microsoft::MultiHeadAttention", f"q k {value}", name, num_heads=2) for value, name in ("vh", "hy")]
    for one in nodes:
        one.input.extend(["", "", "bias"])
    graph = tiny(nodes, {}, {**dict.fromkeys("qkv", dims), "bias": (*shape, "sequence", "sequence")})
    feeds = {name: rng.standard_normal((3, 5, 8)).astype(np.float32) for name in "qkv"}
    feeds["bias"] = rng.standard_normal((*shape, 5, 5)).astype(np.float32)
    expected = answer(graph.model, feeds, tmp_path)
    fitted = fit(graph, find_release("24.05"))
    assert [node.op_type for node in fitted.model.graph].count("Expand") == 1
    assert first_release(fitted).first == "24.05"
    np.testing.assert_allclose(answer(fitted.model, feeds, tmp_path), expected, atol=1e-6)
