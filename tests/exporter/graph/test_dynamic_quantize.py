"""int8 for encoders: products with constants multiply in int8, a scale for each column; everything else is as it was."""

import numpy as np
import onnx
import pytest

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.core.precision_plan import Fp32Node, PrecisionPlan
from hf2triton.core.types import Graph
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import IR_VERSION, OPSET, fit
from hf2triton.graph.precision.conversion import quantizable, weight_bytes, with_precision
from hf2triton.graph.precision.planning import check_plan
from hf2triton.graph.storage import save_graph, unload
from hf2triton.graph.tracing.encoder import export_graph

from ...support import ASSETS
from .tiny import answer, op, tiny

RNG = np.random.default_rng(0)
ROWS = {"x": ("batch", 64)}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def layers(**options):
    """A MatMul, a Gemm, a product of states with states, and a table that is looked up."""
    nodes = [
        op("MatMul", "x w", "product"),
        op("Gemm", "product v b", "gemm", transB=1),
        op("Transpose", "gemm", "turned", perm=[1, 0]),
        op("MatMul", "gemm turned", "scores"),
        op("MatMul", "scores gemm", "y"),
    ]
    columns = np.geomspace(1e-2, 10, 48).astype(np.float32)
    weights = {"w": normal(64, 48) * columns, "v": normal(32, 48), "b": normal(32)}
    return tiny(nodes, weights, ROWS, **options), weights


def stored(graph, name):
    """The fp32 matrix that a quantized weight stands for, and its scales."""
    initializers = graph.model.graph.initializers
    values, scales, zeros = (
        initializers[f"{name}_{kind}"].const_value.numpy() for kind in ("quantized", "scale", "zero_point")
    )
    assert values.dtype == np.int8
    assert not zeros.any()
    return values * scales, scales


def test_weights_become_int8_with_a_scale_for_each_column():
    """Each entry is within half a step of its column; columns of any size keep their digits."""
    graph, weights = layers()
    quantized = with_precision(graph, "int8")
    for name, matrix in (("w", weights["w"]), ("v_Transposed", weights["v"].T)):
        held, scales = stored(quantized, name)
        assert scales.shape == (matrix.shape[1],)
        assert held.shape == matrix.shape
        np.testing.assert_allclose(scales, np.abs(matrix).max(axis=0) / 127, rtol=1e-2)
        assert (np.abs(held - matrix) <= scales * 0.501).all()
    assert not {"w", "v"} & set(quantized.model.graph.initializers)
    assert quantized.precision == "int8"


def test_products_of_states_stay_fp32():
    """Attention's own products, and the bias, are not touched."""
    graph, weights = layers()
    quantized = with_precision(graph, "int8").model.graph
    names = {node.name: node.op_type for node in quantized}
    assert (names["scores"], names["y"]) == ("MatMul", "MatMul")
    assert [node.op_type for node in quantized].count("MatMulInteger") == 2
    np.testing.assert_array_equal(quantized.initializers["b"].const_value.numpy(), weights["b"])


def test_answers_stay_close(tmp_path):
    """The quantized graph runs, and gives fp32's answer but for what eight bits lose."""
    nodes = [op("MatMul", "x w", "product"), op("Tanh", "product", "states"), op("Gemm", "states v b", "y")]
    graph = tiny(nodes, {"w": normal(64, 48) / 8, "v": normal(48, 32), "b": normal(32)}, ROWS)
    feeds = {"x": normal(16, 64)}
    exact = answer(graph.model, feeds, tmp_path)
    given = answer(with_precision(graph, "int8").model, feeds, tmp_path)
    assert 0 < np.linalg.norm(given - exact) / np.linalg.norm(exact) < 0.02


@pytest.mark.parametrize("kept", [["product"], ["gemm"], ["product", "gemm"]])
def test_islands_stay_fp32(kept):
    """Named nodes keep their op and their weights, bit by bit, whether the plan names them or the export has marked them."""
    weight_of = {"product": "w", "gemm": "v"}
    for graph, weights, fp32_nodes in ((*layers(), kept), (*layers(full_precision=kept), ())):
        quantized = with_precision(graph, "int8", fp32_nodes).model.graph
        ops = {node.name: node.op_type for node in quantized}
        for node, weight in weight_of.items():
            # the quantizer makes a MatMul and an Add of a Gemm that it is told to leave alone
            assert ("MatMul" in (ops.get(node), ops.get(f"{node}_MatMul"))) == (node in kept)
            found = [quantized.initializers.get(name) for name in (weight, f"{weight}_Transposed")]
            [full] = [value.const_value.numpy() for value in found if value is not None] or [None]
            assert (full is not None) == (node in kept)
            if full is not None:
                np.testing.assert_array_equal(full if weight in quantized.initializers else full.T, weights[weight])


def test_bytes_of_islands_are_what_int8_would_save():
    """What an int8 plan says that an fp32 node costs is what the graph grows by, but for the few bytes of scales."""
    graph, _ = layers()
    plain, kept = (with_precision(graph, "int8", fp32_nodes).model for fp32_nodes in ((), ["product"]))
    plan = check_plan(graph, PrecisionPlan("int8", (Fp32Node("product", "", "", 0),)))
    assert plan.extra_bytes == pytest.approx(weight_bytes(kept) - weight_bytes(plain), rel=0.05)


def test_what_is_quantizable_is_what_changes():
    """`quantizable` names exactly the nodes that int8 replaces; a tiny graph and a trained one agree with it."""
    for graph in (layers()[0], exported()):
        named = {node.name for node in quantizable(graph)}
        after = {node.name for node in with_precision(graph, "int8").model.graph}
        assert named == {node.name for node in graph.model.graph} - after
        assert named


def exported(task="text-classification") -> Graph:
    checkpoint = load_checkpoint(find_source(str(ASSETS / "bert-sentiment")), task)
    return fit(clean(export_graph(checkpoint, checkpoint.task.endpoints[0], "fused", OPSET)), None)


@pytest.fixture(scope="module")
def sentiment():
    """The trained BERT, as it is exported."""
    return exported()


def test_a_trained_encoder(sentiment):
    """Its twelve dense layers and the head become int8; attention, embeddings and normalisation keep op and weights."""
    quantized = with_precision(sentiment, "int8")
    kinds = [node.op_type for node in quantized.model.graph]
    assert kinds.count("MatMulInteger") == len(quantizable(sentiment)) == 2 * 6 + 2
    assert not {"MatMul", "Gemm"} & set(kinds)
    for kind in ("MultiHeadAttention", "Gather", "LayerNormalization"):
        before = [node.name for node in sentiment.model.graph if node.op_type == kind]
        assert [node.name for node in quantized.model.graph if node.op_type == kind] == before != []
    table = "model.bert.embeddings.word_embeddings.weight"
    before, after = (one.model.graph.initializers[table].const_value for one in (sentiment, quantized))
    np.testing.assert_array_equal(before.numpy(), after.numpy())
    assert weight_bytes(quantized.model) < weight_bytes(sentiment.model)


def test_versions_stay_as_they_were(sentiment, tmp_path):
    """What Triton releases load is not changed behind the user's back, and the graph is valid."""
    quantized = with_precision(sentiment, "int8").model
    assert quantized.ir_version == sentiment.model.ir_version == IR_VERSION
    assert quantized.opset_imports[""] == sentiment.model.opset_imports[""] == OPSET
    assert set(quantized.opset_imports) == set(sentiment.model.opset_imports)
    save_graph(quantized, tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    assert quantized.producer_name == sentiment.model.producer_name
    assert [value.name for value in quantized.graph.inputs] == [value.name for value in sentiment.model.graph.inputs]
    assert [value.name for value in quantized.graph.outputs] == [value.name for value in sentiment.model.graph.outputs]


def test_the_same_bytes_each_time(sentiment, tmp_path):
    """Two conversions of a graph, one of them with its weights put aside, are the same file."""
    files = [tmp_path / f"{number}.onnx" for number in range(3)]
    for path in files[:2]:
        save_graph(with_precision(sentiment, "int8").model, path)
    save_graph(with_precision(unload(exported(), tmp_path / "aside"), "int8").model, files[2])
    first, second, third = (path.read_bytes() for path in files)
    assert first == second
    assert first == third


def test_the_graph_itself_stays_as_it_was(sentiment):
    """A copy is quantized."""
    before = [(node.name, node.op_type) for node in sentiment.model.graph]
    size = weight_bytes(sentiment.model)
    with_precision(sentiment, "int8")
    assert [(node.name, node.op_type) for node in sentiment.model.graph] == before
    assert (weight_bytes(sentiment.model), sentiment.precision) == (size, "fp32")
