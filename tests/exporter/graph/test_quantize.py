"""int8: MatMuls with constant matrices become MatMulNBits, whose answers are those that rounding allows."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from hf2triton.core.types import Graph
from hf2triton.errors import ExportError
from hf2triton.graph.precision.conversion import weight_bytes
from hf2triton.graph.precision.quantize import BLOCK, quantize_rows, quantize_weights
from hf2triton.graph.storage import save_graph

FP32 = ir.DataType.FLOAT


def dequantized(values, scales, size):
    """The fp32 matrix `[N, K]` that is stored."""
    return ((values.astype(np.float32) - 128) * scales[..., None]).reshape(len(values), -1)[:, :size]


def make_graph(text, full_precision=(), **weights):
    """A graph from ONNX's text form; shapes of what lies between are inferred."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model))
    return Graph(model, (), (), "standard", full_precision=frozenset(full_precision))


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def session_of(model, path):
    save_graph(model, path)
    onnx.checker.check_model(str(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ops_of(graph):
    return sorted(node.op_type for node in graph.model.graph)


def stored(graph, name):
    """The fp32 matrix `[N, K]` that became of a weight, with K filled up to a multiple of BLOCK."""
    initializers = graph.model.graph.initializers
    values, scales = (initializers[f"{name}_{kind}"].const_value.numpy() for kind in ("int8", "scales"))
    return dequantized(values, scales, values.shape[1] * BLOCK)


def assert_product(actual, x, matrix, bias=0.0):
    """`actual` is x · matrixᵀ + bias, with each state off by at most half of what its block was rounded to."""
    size = x.shape[-1]
    blocks = np.zeros((*x.shape[:-1], -(-size // BLOCK), BLOCK))
    blocks.reshape(*x.shape[:-1], -1)[..., :size] = np.abs(x)
    half = np.repeat(blocks.max(-1) / 254, BLOCK, axis=-1)[..., :size]
    room = half @ np.abs(matrix[:, :size]).T.astype(np.float64) + 1e-5
    expected = x.astype(np.float64) @ matrix[:, :size].T.astype(np.float64) + bias
    assert actual.shape == expected.shape
    assert (np.abs(actual - expected) <= room).all()


numbers = st.floats(-1e4, 1e4, width=32).filter(lambda value: value == 0 or abs(value) > 1e-4)


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=70), elements=numbers))
def test_values_are_within_half_a_step(rows):
    """Whatever the sizes, a value comes back within half of its block's scale, and the block is filled up with zeros."""
    values, scales = quantize_rows(rows)
    blocks = -(-rows.shape[1] // BLOCK)
    assert (values.shape, values.dtype) == ((len(rows), blocks, BLOCK), np.uint8)
    assert (scales.shape, scales.dtype) == ((len(rows), blocks), np.float32)
    assert values.min() >= 1
    assert (values.reshape(len(rows), -1)[:, rows.shape[1] :] == 128).all()
    step = np.repeat(scales, BLOCK, axis=1)[:, : rows.shape[1]]
    assert (np.abs(dequantized(values, scales, rows.shape[1]) - rows) <= step * 0.50001).all()


def test_a_block_uses_the_whole_range():
    """The largest value of a block is exact, a block of zeros stays zero, and blocks do not share a scale."""
    rows = np.zeros((1, 3 * BLOCK), np.float32)
    rows[0, :4] = 127, -127, 1, 0.4
    rows[0, -1] = -1e-3
    values, scales = quantize_rows(rows)
    np.testing.assert_array_equal(values[0, 0, :5], [255, 1, 129, 128, 128])
    np.testing.assert_allclose(scales[0], [1, 0, 1e-3 / 127])
    assert (values[0, 1] == 128).all()
    assert values[0, 2, -1] == 1


@pytest.mark.parametrize(("size", "count"), [(32, 64), (64, 1), (33, 5), (7, 13), (100, 48), (128, 101)])
@pytest.mark.parametrize("add", ["Add(p, b)", "Add(b, p)", "Identity(p)"])
def test_a_product_and_its_bias_become_one_node(tmp_path, size, count, add):
    """Any sizes, with a bias on either side or none: one node, and what the rounding of states allows."""
    weight, bias = random(size, count), random(count, seed=1)
    weights = {"w": weight} | ({} if add == "Identity(p)" else {"b": bias})
    text = f"(float[r, s, {size}] x) => (float[r, s, {count}] y) {{ p = MatMul(x, w) y = {add} }}"
    graph = quantize_weights(make_graph(text, **weights))
    assert graph.precision == "int8"
    assert ops_of(graph) == (["MatMulNBits"] if "b" in weights else ["Identity", "MatMulNBits"])
    assert set(graph.model.graph.initializers) == {"w_int8", "w_scales", *weights} - {"w"}
    attributes = {name: attribute.value for name, attribute in graph.model.graph[0].attributes.items()}
    # 4: states become int8 as well; at the other levels onnxruntime makes fp32 weights in each call
    assert attributes == {"K": size, "N": count, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
    x = random(2, 5, size, seed=2)
    actual = session_of(graph.model, tmp_path / "model.onnx").run(None, {"x": x})[0]
    matrix = stored(graph, "w")
    assert np.abs(matrix[:, :size] - weight.T).max() <= np.abs(weight).max() / 254 * 1.0001
    assert_product(actual, x, matrix, bias if "b" in weights else 0.0)


def test_a_transposed_matrix_is_stored_as_it_is(tmp_path):
    """A matrix that is read through a Transpose gives the same; the Transpose goes with the fp32 weight."""
    weight = random(48, 40)
    text = "(float[r, 40] x) => (float[r, 48] y) { t = Transpose<perm = [1, 0]>(w) y = MatMul(x, t) }"
    graph = quantize_weights(make_graph(text, w=weight))
    assert ops_of(graph) == ["MatMulNBits"]
    x = random(3, 40, seed=1)
    actual = session_of(graph.model, tmp_path / "model.onnx").run(None, {"x": x})[0]
    assert_product(actual, x, stored(graph, "w"))


def test_a_weight_of_several_products_is_stored_once(tmp_path):
    """Two products share the int8 weight; a sum whose product is needed elsewhere keeps its Add."""
    weights = {"w": random(64, 64) / 8, "b": random(64)}
    text = """(float[r, 64] x) => (float[r, 64] y, float[r, 64] p)
        { p = MatMul(x, w)  q = Add(p, b)  y = MatMul(q, w) }"""
    graph = quantize_weights(make_graph(text, **weights))
    assert ops_of(graph) == ["Add", "MatMulNBits", "MatMulNBits"]
    assert weight_bytes(graph.model) == 64 * 64 * (1 + 4 / BLOCK) + 64 * 4
    x = random(3, 64, seed=1)
    y, p = session_of(graph.model, tmp_path / "model.onnx").run(["y", "p"], {"x": x})
    matrix = stored(graph, "w")
    assert_product(p, x, matrix)
    assert_product(y, p + weights["b"], matrix)


def test_what_is_no_constant_matrix_is_left_alone():
    """States times states, defaults of inputs, stacks of matrices, and nodes that are to stay fp32 are not touched."""
    text = """(float[r, 8] x, float[8, 8] default) => (float[r, 8] y, float[r, r] s, float[2, r, 8] z, float[r, 8] k)
        { xt = Transpose(x)  s = MatMul(x, xt)  y = MatMul(x, default)  z = MatMul(x, stack)  [kept] k = MatMul(x, w) }"""
    weights = {"default": random(8, 8), "stack": random(2, 8, 8), "w": random(8, 8)}
    graph = make_graph(text, full_precision=["kept"], **weights)
    before = graph.model.clone()
    graph = quantize_weights(graph)
    assert ops_of(graph) == ["MatMul", "MatMul", "MatMul", "MatMul", "Transpose"]
    assert {name: value.dtype for name, value in graph.model.graph.initializers.items()} == dict.fromkeys(weights, FP32)
    assert graph.model.opset_imports == before.opset_imports


def test_a_bias_that_is_none_stays_an_addition(tmp_path):
    """What is added to a product is its bias only if it is one constant vector of the product's width."""
    text = """(float[r, 32] x) => (float[r, 32] y)
        { p = MatMul(x, w)  q = Add(p, one)  o = MatMul(q, w)  y = Add(o, x) }"""
    weights = {"w": random(32, 32) / 8, "one": np.array([1], np.float32)}
    graph = quantize_weights(make_graph(text, **weights))
    assert ops_of(graph) == ["Add", "Add", "MatMulNBits", "MatMulNBits"]
    session_of(graph.model, tmp_path / "model.onnx").run(None, {"x": random(3, 32)})


@pytest.mark.parametrize(("size", "count"), [(64, 101), (40, 13)])
def test_a_tied_table_is_stored_once(tmp_path, size, count):
    """Lookups of a table that is multiplied with give its int8 rows, exactly as the product reads them."""
    table = random(count, size)
    text = f"""(int64[r, s] ids, int64[n] more) => (float[r, s, {count}] y, float[r, s, {size}] x, float[n, {size}] z)
        {{ x = Gather(w, ids)  z = Gather<axis = 0>(w, more)  t = Transpose(w)  y = MatMul(x, t) }}"""
    graph = quantize_weights(make_graph(text, w=table))
    filled_up = -(-size // BLOCK) * BLOCK
    assert 0 <= weight_bytes(graph.model) - count * filled_up * (1 + 4 / BLOCK) < 150
    matrix = stored(graph, "w")[:, :size]
    session = session_of(graph.model, tmp_path / "model.onnx")
    ids = np.random.default_rng(0).integers(0, count, (3, 4))
    y, x, z = session.run(["y", "x", "z"], {"ids": ids, "more": np.array([count - 1, 0])})
    np.testing.assert_array_equal(x, matrix[ids])
    np.testing.assert_array_equal(z, matrix[[-1, 0]])
    assert_product(y, x, matrix)


def test_other_readers_of_a_table_keep_it(tmp_path):
    """Where something else reads the fp32 table, or columns are looked up, it stays beside the int8 one."""
    text = """(float[r, 32] x, int64[n] ids) => (float[r, 48] y, float[48, n] columns, float[48, 32] sum)
        { t = Transpose(w)  y = MatMul(x, t)  columns = Gather<axis = 1>(w, ids)  sum = Add(w, w) }"""
    table = random(48, 32)
    graph = quantize_weights(make_graph(text, w=table))
    assert set(graph.model.graph.initializers) == {"w", "w_int8", "w_scales"}
    session = session_of(graph.model, tmp_path / "model.onnx")
    columns, total = session.run(["columns", "sum"], {"x": random(1, 32), "ids": np.array([3])})
    np.testing.assert_array_equal(columns, table[:, [3]])
    np.testing.assert_array_equal(total, table + table)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    """A NaN or an infinity is an error that names the weight, not a table of nonsense."""
    weight = random(32, 8)
    weight[3, 4] = value
    graph = make_graph("(float[r, 32] x) => (float[r, 8] y) { y = MatMul(x, w) }", w=weight)
    with pytest.raises(ExportError, match="weight w has values that are not finite"):
        quantize_weights(graph)
