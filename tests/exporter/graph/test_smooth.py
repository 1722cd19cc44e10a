"""Channels are evened out without a bit of the answer changing, and int8 then loses far less."""

from dataclasses import replace

import numpy as np
import pytest

from hf2triton.graph.precision.conversion import with_precision
from hf2triton.graph.precision.smooth import smooth
from hf2triton.graph.storage import unload

from .tiny import answer, op, tiny

RNG = np.random.default_rng(0)
WIDTH = 64
ROWS = {"x": ("batch", WIDTH)}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def spread(channel=3, factor=1000):
    """Scales of channels: one is far larger than the rest."""
    scales = np.ones(WIDTH, np.float32)
    scales[channel] = factor
    return scales


def matmul(**options):
    """States with a large channel, whose row of the matrix is as small, and another product behind it."""
    nodes = [op("Mul", "x spread", "states"), op("MatMul", "states w", "product"), op("Add", "product b", "y")]
    weights = {"spread": spread(), "w": normal(WIDTH, 32) / spread()[:, None], "b": normal(32)}
    return tiny(nodes, weights, ROWS, **options)


def gemm(transposed):
    w = normal(WIDTH, 32) / spread()[:, None]
    nodes = [op("Mul", "x spread", "states"), op("Gemm", "states w b", "y", transB=int(transposed))]
    return tiny(nodes, {"spread": spread(), "w": w.T.copy() if transposed else w, "b": normal(32)}, ROWS)


def shared_states():
    """Two products read the same states."""
    nodes = [op("Mul", "x spread", "states"), op("MatMul", "states w", "a"), op("MatMul", "states v", "b")]
    nodes.append(op("Add", "a b", "y"))
    weights = {"spread": spread(), "w": normal(WIDTH, 32) / spread()[:, None], "v": normal(WIDTH, 32)}
    return tiny(nodes, weights, ROWS)


def shared_weights():
    """Two products of different states with the same matrix, each of which has another large channel."""
    nodes = [op("Mul", "x one", "first"), op("Mul", "x other", "second")]
    nodes += [op("MatMul", "first w", "a"), op("MatMul", "second w", "b"), op("Add", "a b", "y")]
    return tiny(nodes, {"one": spread(3), "other": spread(40), "w": normal(WIDTH, 32)}, ROWS)


def three_axes():
    """States of tokens: channels are the last axis whatever is before it."""
    nodes = [op("Mul", "x spread", "states"), op("MatMul", "states w", "y")]
    weights = {"spread": spread(), "w": normal(WIDTH, 32) / spread()[:, None]}
    return tiny(nodes, weights, {"x": ("batch", "sequence", WIDTH)})


GRAPHS = [
    pytest.param(matmul, id="MatMul"),
    pytest.param(lambda: gemm(False), id="Gemm"),
    pytest.param(lambda: gemm(True), id="Gemm transB"),
    pytest.param(shared_states, id="shared states"),
    pytest.param(shared_weights, id="shared weights"),
    pytest.param(three_axes, id="tokens"),
]


def batches(graph, count=3):
    shape = (8, *[5] * (len(graph.inputs[0].dims) - 2), WIDTH)
    return [{"x": normal(*shape)} for _ in range(count)]


@pytest.mark.parametrize("make", GRAPHS)
def test_no_bit_of_the_answer_changes(tmp_path, make):
    """In fp32 the smoothed graph gives the same numbers, for inputs that it has not seen too, and something was smoothed."""
    graph = make()
    calls = batches(graph)
    smoothed = smooth(graph, calls[:2], tmp_path)
    for feeds in calls:
        np.testing.assert_array_equal(answer(smoothed.model, feeds, tmp_path), answer(graph.model, feeds, tmp_path))
    assert any(node.name.endswith(":even") for node in smoothed.model.graph)


def off(graph, exact, feeds, folder):
    """How far int8 is off, as a share of fp32's answer."""
    given = answer(with_precision(graph, "int8").model, feeds, folder)
    return float(np.linalg.norm(given - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("make", [matmul, lambda: gemm(False), lambda: gemm(True), three_axes])
def test_int8_loses_less(tmp_path, make):
    """With one channel a thousand times larger than the rest, int8 is at least five times closer to fp32 than without."""
    graph = make()
    calls = batches(graph)
    smoothed = smooth(graph, calls[:2], tmp_path)
    exact = answer(graph.model, calls[2], tmp_path)
    before, after = (off(one, exact, calls[2], tmp_path) for one in (graph, smoothed))
    assert before > 0.2
    assert after < before / 5


def factors_of(smoothed):
    [factors] = [value for name, value in smoothed.model.graph.initializers.items() if name.endswith(":channels")]
    return factors.const_value.numpy()


def test_factors_are_powers_of_two(tmp_path):
    """Nothing else would leave every bit as it was."""
    graph = matmul()
    mantissas, _ = np.frexp(factors_of(smooth(graph, batches(graph), tmp_path)))
    np.testing.assert_array_equal(mantissas, 0.5)


def test_channels_become_even(tmp_path):
    """The large channel is divided by far more than the others are."""
    graph = matmul()
    factors = factors_of(smooth(graph, batches(graph), tmp_path))
    assert factors[3] < np.delete(factors, 3).min() / 100


def test_empty_channels_stay_as_they_are(tmp_path):
    """A channel that is always 0, or whose row of the matrix is, is multiplied with 1; no infinity comes in."""
    scales = spread()
    scales[7] = 0
    w = normal(WIDTH, 32)
    w[9] = 0
    nodes = [op("Mul", "x spread", "states"), op("MatMul", "states w", "y")]
    graph = tiny(nodes, {"spread": scales, "w": w}, ROWS)
    calls = batches(graph)
    smoothed = smooth(graph, calls, tmp_path)
    factors = factors_of(smoothed)
    assert np.isfinite(factors).all()
    assert factors[7] == factors[9] == 1
    np.testing.assert_array_equal(answer(smoothed.model, calls[0], tmp_path), answer(graph.model, calls[0], tmp_path))


def test_a_product_of_the_graphs_own_input(tmp_path):
    """States need not come from a node."""
    graph = tiny([op("MatMul", "x w", "y")], {"w": normal(WIDTH, 32)}, ROWS)
    calls = [{"x": normal(8, WIDTH) * spread()}]
    smoothed = smooth(graph, calls, tmp_path)
    np.testing.assert_array_equal(answer(smoothed.model, calls[0], tmp_path), answer(graph.model, calls[0], tmp_path))


def test_products_of_states_are_left_alone(tmp_path):
    """Where both factors are states, or where there is no product, the graph stays as it was."""
    nodes = [op("Transpose", "x", "t", perm=[1, 0]), op("MatMul", "x t", "scores"), op("MatMul", "scores x", "y")]
    graph = tiny(nodes, {}, {"x": ("rows", WIDTH)})
    smoothed = smooth(graph, [{"x": normal(4, WIDTH)}], tmp_path)
    assert [node.name for node in smoothed.model.graph] == ["t", "scores", "y"]


def test_the_graph_itself_stays_as_it_was(tmp_path):
    """A copy is smoothed; weights that nobody reads any more are gone from it."""
    graph = shared_weights()
    smoothed = smooth(graph, batches(graph), tmp_path)
    assert set(graph.model.graph.initializers) == {"one", "other", "w"}
    assert "w" not in smoothed.model.graph.initializers
    assert replace(smoothed, model=graph.model) == graph


def test_weights_that_were_put_aside(tmp_path):
    """Matrices are read from their file when they are needed; the smoothed graph computes the same as before."""
    graph = matmul()
    calls = batches(graph)
    before = answer(graph.model, calls[0], tmp_path)
    smoothed = smooth(unload(graph, tmp_path / "aside"), calls, tmp_path / "aside")
    np.testing.assert_array_equal(answer(smoothed.model, calls[0], tmp_path), before)


def test_the_same_each_time(tmp_path):
    """Two runs give the same factors and names."""
    graph = shared_states()
    calls = batches(graph)
    first, second = (smooth(graph, calls, tmp_path).model.graph for _ in range(2))
    assert [node.name for node in first] == [node.name for node in second]
    assert list(first.initializers) == list(second.initializers)
    for name, value in first.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), second.initializers[name].const_value.numpy())
