"""What is measured of each node is what numpy gives by hand, over all calls, and shows where fp16 would break a graph."""

import math

import numpy as np
import pytest

from hf2triton.graph.precision.calibration import measure_ranges
from hf2triton.graph.storage import unload

from .tiny import op, tiny

RNG = np.random.default_rng(0)
ROWS = {"x": ("batch", 64)}


def half(array):
    """What fp16 holds of it, in fp32."""
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(np.float16).astype(np.float32)


def rms(array):
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def product_and_bias():
    weights = {"w": RNG.standard_normal((64, 64), np.float32), "b": RNG.standard_normal(64, np.float32)}
    return tiny([op("MatMul", "x w", "a"), op("Add", "a b", "y")], weights, ROWS), weights


@pytest.mark.parametrize("sizes", [(5,), (1, 8, 3)])
def test_each_node_is_measured_as_by_hand(tmp_path, sizes):
    """Peak, rms and error of each node, of one call and of several that are joined, as if they had been one."""
    graph, weights = product_and_bias()
    batches = [RNG.standard_normal((size, 64), np.float32) * size for size in sizes]
    ranges = measure_ranges(graph, [{"x": batch} for batch in batches], tmp_path)
    x = np.concatenate(batches)
    w, b = weights["w"], weights["b"]
    a = x @ w
    exact = {"a": a, "y": a + b}
    alone = {"a": half(half(x) @ half(w)), "y": half(half(a) + half(b))}
    assert list(ranges) == ["a", "y"]
    for name, found in ranges.items():
        assert found.peak == pytest.approx(np.abs(exact[name]).max(), rel=1e-5)
        assert found.rms == pytest.approx(rms(exact[name]), rel=1e-5)
        assert found.error == pytest.approx(rms(alone[name] - exact[name]) / rms(exact[name]), rel=1e-2)
        assert 1e-5 < found.error < 1e-3
        assert found.scores == 0


def test_nothing_is_lost_of_what_fp16_holds(tmp_path):
    """Small whole numbers: no error at all."""
    graph = tiny([op("Add", "x two", "y")], {"two": np.float32(2)}, ROWS)
    x = np.arange(128, dtype=np.float32).reshape(2, 64)
    found = measure_ranges(graph, [{"x": x}], tmp_path)["y"]
    assert (found.error, found.peak) == (0, 129)


def test_a_node_that_gives_nothing_but_zeros(tmp_path):
    """No peak, and no error, though there is nothing to take a share of."""
    graph = tiny([op("Mul", "x zero", "y")], {"zero": np.float32(0)}, ROWS)
    found = measure_ranges(graph, [{"x": np.ones((2, 64), np.float32)}], tmp_path)["y"]
    assert (found.peak, found.rms, found.error) == (0, 0, 0)


def test_a_result_that_overflows_has_an_infinite_error(tmp_path):
    """One value above 65,504 in one of several calls; the nodes around it are measured as ever."""
    graph = tiny(
        [op("Mul", "x x", "square"), op("Mul", "x small", "y")], {"small": np.float32(0.1)}, ROWS, ("y", "square")
    )
    batches = [np.ones((1, 64), np.float32) for _ in range(3)]
    batches[1][0, 7] = 300
    ranges = measure_ranges(graph, [{"x": batch} for batch in batches], tmp_path)
    assert (ranges["square"].peak, ranges["square"].error) == (90_000, math.inf)
    assert ranges["y"].error < 1e-3


def test_inputs_that_overflow_have_an_infinite_error(tmp_path):
    """inf − inf is NaN: what reads a value that fp16 cannot hold is broken as well, however small its own result."""
    nodes = [op("Mul", "x x", "square"), op("Sub", "square square", "y")]
    ranges = measure_ranges(tiny(nodes, {}, ROWS), [{"x": np.full((1, 64), 300, np.float32)}], tmp_path)
    assert (ranges["y"].peak, ranges["y"].error) == (0, math.inf)


def test_a_weight_that_overflows_has_an_infinite_error(tmp_path):
    """A constant above 65,504 that meets small values."""
    graph = tiny([op("Mul", "x large", "y")], {"large": np.float32(1e5)}, ROWS)
    found = measure_ranges(graph, [{"x": np.full((1, 64), 1e-3, np.float32)}], tmp_path)["y"]
    assert (found.peak, found.error) == (pytest.approx(100), math.inf)


def test_values_beyond_the_squares_of_fp32(tmp_path):
    """Their squares do not fit into fp32; they still count as overflows, and are no NaN."""
    graph = tiny([op("Mul", "x large", "y")], {"large": np.float32(1e25)}, ROWS)
    found = measure_ranges(graph, [{"x": np.ones((1, 64), np.float32)}], tmp_path)["y"]
    assert (found.peak, found.error) == (pytest.approx(1e25), math.inf)
    assert not math.isnan(found.rms)


def test_a_difference_of_large_numbers_is_off_where_it_is_taken(tmp_path):
    """x + 1000 − 1000: the sum is exact within fp16's steps, its difference loses half of x; what follows is sound again."""
    nodes = [op("Add", "x k", "sum"), op("Sub", "sum k", "difference"), op("Mul", "difference two", "y")]
    graph = tiny(nodes, {"k": np.float32(1000), "two": np.float32(2)}, ROWS)
    x = RNG.uniform(-1, 1, (8, 64)).astype(np.float32)
    ranges = measure_ranges(graph, [{"x": x}], tmp_path)
    expected = half(half(x + np.float32(1000)) - 1000) - (x + np.float32(1000) - 1000)
    assert ranges["difference"].error == pytest.approx(rms(expected) / rms(x), rel=1e-2)
    assert ranges["difference"].error > 0.1
    assert max(ranges["sum"].error, ranges["y"].error) < 1e-3


def attention_of(heads, head_size, scale):
    dims = ("batch", "sequence", heads * head_size)
    node = op("com.microsoft::MultiHeadAttention", "q k v", "y", num_heads=heads, scale=scale)
    return tiny([node], {}, dict.fromkeys("qkv", dims))


@pytest.mark.parametrize("sequences", [(5,), (5, 9)])
def test_scores_of_attention_are_bounded(tmp_path, sequences):
    """By scale · longest query · longest key of all heads and calls, which no true score exceeds, and which is not far off."""
    heads, size, scale = 2, 4, 0.3
    batches = [
        {name: RNG.standard_normal((3, length, heads * size)).astype(np.float32) * 7 for name in "qkv"}
        for length in sequences
    ]
    found = measure_ranges(attention_of(heads, size, scale), batches, tmp_path)["y"]
    bounds, largest = [], 0.0
    for batch in batches:
        q, k = (batch[name].reshape(3, -1, heads, size).transpose(0, 2, 1, 3) for name in "qk")
        largest = max(largest, float(np.abs(scale * q @ k.transpose(0, 1, 3, 2)).max()))
        bounds.append(scale * np.linalg.norm(q, axis=-1).max() * np.linalg.norm(k, axis=-1).max())
    assert found.scores == pytest.approx(max(bounds), rel=1e-5)
    assert largest <= found.scores < 3 * largest


def test_the_bound_is_reached_where_query_and_key_point_the_same_way(tmp_path):
    """Of one query and one key alike, the bound is the score itself."""
    vector = RNG.standard_normal((1, 1, 4)).astype(np.float32)
    found = measure_ranges(attention_of(1, 4, 0.5), [dict.fromkeys("qkv", vector)], tmp_path)["y"]
    assert found.scores == pytest.approx(0.5 * float((vector**2).sum()), rel=1e-5)


def test_the_bias_of_attention_counts_among_its_scores(tmp_path):
    """Largest of all its values, whatever their sign."""
    dims = ("batch", "sequence", 8)
    node = op("com.microsoft::MultiHeadAttention", "q k v", "y", num_heads=2, scale=0.3)
    node.input.extend(["", "", "bias"])
    graph = tiny([node], {}, {**dict.fromkeys("qkv", dims), "bias": (1, 2, "sequence", "sequence")})
    zeros = dict.fromkeys("qkv", np.zeros((3, 5, 8), np.float32))
    bias = RNG.uniform(-9, 4, (1, 2, 5, 5)).astype(np.float32)
    found = measure_ranges(graph, [{**zeros, "bias": bias}], tmp_path)["y"]
    assert found.scores == pytest.approx(float(np.abs(bias).max()))


def test_the_graph_stays_as_it_was(tmp_path):
    """Measuring adds nothing to the graph itself."""
    graph, _ = product_and_bias()
    measure_ranges(graph, [{"x": np.ones((1, 64), np.float32)}], tmp_path)
    assert [node.name for node in graph.model.graph] == ["a", "y"]
    assert [value.name for value in graph.model.graph.outputs] == ["y"]
    assert set(graph.model.graph.initializers) == {"w", "b"}


def test_weights_that_were_put_aside_are_read_from_their_file(tmp_path):
    """Ranges of a graph whose weights are in a file are the same, and follow the file."""
    graph, weights = product_and_bias()
    feeds = [{"x": RNG.standard_normal((4, 64), np.float32)}]
    before = measure_ranges(graph, feeds, tmp_path)
    graph = unload(graph, tmp_path / "aside")
    assert measure_ranges(graph, feeds, tmp_path / "aside") == before
    file = tmp_path / "aside" / "weights.data"
    data = file.read_bytes()
    assert weights["w"].tobytes() in data
    file.write_bytes(data.replace(weights["w"].tobytes(), (weights["w"] * 2).tobytes()))
    assert measure_ranges(graph, feeds, tmp_path / "aside")["a"].peak == pytest.approx(2 * before["a"].peak)
