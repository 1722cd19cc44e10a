"""The stand-in for the C++ onnxruntime backend: serves what that serves, refuses what that refuses."""

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from hf2triton.errors import ServingError
from hf2triton.serving import Server

CONFIG = """
name: "adder"
backend: "onnxruntime"
max_batch_size: 8
input { name: "a" data_type: TYPE_FP32 dims: %(in)s %(optional)s }
input { name: "b" data_type: %(type)s dims: 3 }
output { name: "sum" data_type: TYPE_FP32 dims: %(out)s }
output { name: "difference" data_type: TYPE_FP32 dims: [ -1 ] }
dynamic_batching { }
instance_group { count: 1 kind: KIND_CPU }
%(more)s
"""
DEFAULTS = {"in": "[ -1 ]", "out": "[ -1 ]", "type": "TYPE_FP32", "optional": "", "more": ""}


def write(repository, folder=False, **changes):
    """A model with inputs a, b and outputs sum, difference, all [batch, width]."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "width"]) for name in ("a", "b")]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "width"]) for n in ("sum", "difference")]
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    graph = helper.make_graph(nodes, "g", tensors, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    version = repository / "adder" / "1"
    path = version / "model.onnx" / "model.onnx" if folder else version / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    (version.parent / "config.pbtxt").write_text(CONFIG % (DEFAULTS | changes))


def ask(url, a, b):
    with triton.InferenceServerClient(url) as client:
        inputs = []
        for name, array in (("a", a), ("b", b)):
            inputs.append(triton.InferInput(name, list(array.shape), "FP32"))
            inputs[-1].set_data_from_numpy(array)
        return client.infer("adder", inputs)


@pytest.mark.parametrize("folder", [False, True])
def test_it_serves(tmp_path, folder):
    """Batches, several outputs, and the folder layout of large models."""
    more = 'parameters { key: "session.any" value { string_value: "" } } optimization { graph { level: -1 } }'
    write(tmp_path, folder, more=more)
    with Server(tmp_path) as server:
        a, b = np.random.default_rng(0).random((2, 5, 3), np.float32)
        result = ask(server.url, a, b)
        np.testing.assert_array_equal(result.as_numpy("sum"), a + b)
        np.testing.assert_array_equal(result.as_numpy("difference"), a - b)
        with pytest.raises(Exception, match="onnx runtime error"):
            ask(server.url, np.ones((1, 4), np.float32), np.ones((1, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "[ 3 ]"}, "output 'sum' has shape"),
        ({"in": "[ -1, 1 ]"}, "input 'a' has shape"),
        ({"type": "TYPE_INT32"}, "input 'b' is TYPE_INT32"),
        ({"optional": "optional: true"}, "cannot be optional"),
        ({"more": 'parameters { key: "intra_op_thread_count" value { string_value: "" } }'}, "intra_op_thread_count"),
        ({"more": 'parameters { key: "execution_mode" value { string_value: "2" } }'}, "execution_mode"),
        ({"more": 'input { name: "c" data_type: TYPE_FP32 dims: 1 }'}, "expects 3 inputs"),
        ({"more": 'output { name: "c" data_type: TYPE_FP32 dims: 1 }'}, "unexpected inference output 'c'"),
        ({"more": 'default_model_filename: "other.onnx"'}, "other.onnx is missing"),
    ],
)
def test_it_is_as_strict_as_the_real_one(tmp_path, changes, message):
    """A config that the C++ backend would refuse does not load here either."""
    write(tmp_path, **changes)
    with pytest.raises(ServingError, match=message):
        Server(tmp_path).start()
