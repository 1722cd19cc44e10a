"""Plans for fp16: exactly the nodes that fp16 would break are fp32 nodes, with the reason, and with them nothing breaks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hf2triton.core.precision_plan import Fp32Node, PrecisionPlan, plan_from
from hf2triton.core.types import NodeRange
from hf2triton.errors import UsageError
from hf2triton.graph.precision.calibration import measure_ranges
from hf2triton.graph.precision.conversion import weight_bytes, with_precision
from hf2triton.graph.precision.planning import BY_DESIGN, HEADROOM, LARGEST, SMALLEST_NORMAL, check_plan, plan_fp16

from .tiny import answer, op, tiny, twin_answer

ROWS = {"x": ("batch", 64)}
MATRIX = np.random.default_rng(1).uniform(0.5, 1.5, (64, 64)).astype(np.float32)


def feeds(size=1.0):
    return {"x": np.random.default_rng(0).uniform(0.5, 1.5, (8, 64)).astype(np.float32) * np.float32(size)}


def planned(graph, folder, size=1.0):
    return plan_fp16(graph, measure_ranges(graph, [feeds(size)], folder))


def reasons_of(plan):
    return {fp32_node.node: fp32_node.reason for fp32_node in plan.fp32_nodes}


def off(graph, fp32_nodes, folder, size=1.0):
    """The largest error of the rounded twin, as a share of fp32's largest value."""
    exact = answer(graph.model, feeds(size), folder)
    rounded = twin_answer(graph, fp32_nodes, feeds(size), folder)
    with np.errstate(invalid="ignore"):
        return float(np.abs(rounded - exact).max() / np.abs(exact).max())


def overflowing(**options):
    """A product of about 64 · 3000, which is scaled down again."""
    nodes = [op("MatMul", "x w", "product"), op("Mul", "product small", "scaled"), op("Add", "scaled one", "y")]
    weights = {"w": MATRIX * np.float32(3000), "small": np.float32(1e-4), "one": np.float32(1)}
    return tiny(nodes, weights, ROWS, **options)


def vanishing():
    """A product that is scaled down below anything fp16 has, and up again."""
    nodes = [op("MatMul", "x w", "product"), op("Mul", "product tiny", "small"), op("Mul", "small large", "scaled")]
    nodes.append(op("Add", "scaled bias", "y"))
    weights = {"w": MATRIX, "tiny": np.float32(3e-10), "large": np.float32(6e4), "bias": np.float32(1e-4)}
    return tiny(nodes, weights, ROWS)


def losing():
    """x + 1000 − 1000."""
    nodes = [op("Add", "x k", "sum"), op("Sub", "sum k", "difference"), op("MatMul", "difference w", "y")]
    return tiny(nodes, {"k": np.float32(1000), "w": MATRIX}, ROWS)


def heavy(sign=1):
    """A weight beyond fp16 that meets small values."""
    weights = {"small": np.float32(1e-3), "w": MATRIX * np.float32(sign * 1e5)}
    return tiny([op("Mul", "x small", "scaled"), op("MatMul", "scaled w", "y")], weights, ROWS)


def sound():
    nodes = [op("MatMul", "x w", "product"), op("Add", "product b", "sum"), op("Tanh", "sum", "y")]
    return tiny(nodes, {"w": MATRIX / 64, "b": MATRIX[0]}, ROWS)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param(
            overflowing(),
            {"product": "overflows: it reaches 2", "scaled": "reads product, which overflows"},
            id="overflow",
        ),
        pytest.param(
            vanishing(), {"small": "vanishes: it stays below 2", "scaled": "reads small, which vanishes"}, id="vanish"
        ),
        pytest.param(heavy(), {"y": "has weights that overflow: up to 1.5e+05"}, id="weights"),
        pytest.param(heavy(-1), {"y": "has weights that overflow: up to 1.5e+05"}, id="negative weights"),
    ],
)
def test_what_fp16_breaks_is_kept(tmp_path, graph, expected):
    """The node that gives what fp16 cannot hold and those that read it, no others; with them the twin is right, without wrong."""
    plan = planned(graph, tmp_path)
    found = reasons_of(plan)
    assert list(found) == list(expected)
    for node, reason in expected.items():
        assert found[node].startswith(reason)
    assert plan.nodes == len(list(graph.model.graph))
    assert not off(graph, (), tmp_path) < 0.02
    assert off(graph, plan.names, tmp_path) < 2e-3


def test_an_answer_that_is_lost_is_kept(tmp_path):
    """A difference of large numbers stays fp32 with what it is taken of, whose steps in fp16 are as large as the answer."""
    plan = planned(losing(), tmp_path)
    assert "loses its answer: alone in fp16 it is off by" in reasons_of(plan)["difference"]
    assert "y" not in plan.names
    assert off(losing(), (), tmp_path) > 0.02
    assert off(losing(), plan.names, tmp_path) < 2e-3


def test_a_sound_graph_has_no_islands(tmp_path):
    """Nothing is kept where fp16 loses nothing, and the twin is right."""
    plan = planned(sound(), tmp_path)
    assert (plan.fp32_nodes, plan.nodes, plan.extra_bytes) == ((), 3, 0)
    assert off(sound(), (), tmp_path) < 2e-3


@pytest.mark.parametrize(
    ("peak", "kept"),
    [
        (LARGEST / HEADROOM, False),
        (LARGEST / HEADROOM * 1.001, True),
        (math.inf, True),
        (math.nan, True),
        (SMALLEST_NORMAL, False),
        (SMALLEST_NORMAL * 0.999, True),
        (0.0, False),
    ],
)
def test_where_the_limits_are(peak, kept):
    """A quarter of fp16's largest number, since other inputs may reach further, and its smallest normal one."""
    ranges = {name: NodeRange(1.0, 0.5, 1e-4) for name in ("product", "sum", "y")}
    ranges["product"] = NodeRange(peak, 0.5, 1e-4)
    assert plan_fp16(sound(), ranges).names == ({"product", "sum"} if kept else set())


@pytest.mark.parametrize(
    ("error", "reason"), [(0.015, None), (0.02, "off by 2%"), (3.0, "off by 300%"), (math.inf, "gives NaN or infinity")]
)
def test_how_far_a_node_may_be_off(error, reason):
    """A node that is off by more than a sixty-fourth is an fp32 node, and the reason says by how much."""
    ranges = {name: NodeRange(1.0, 0.5, 1e-4) for name in ("product", "sum", "y")}
    ranges["sum"] = NodeRange(1.0, 0.5, error)
    found = reasons_of(plan_fp16(sound(), ranges))
    assert ("sum" in found) == (reason is not None)
    assert reason is None or reason in found["sum"]


def test_scores_that_overflow(tmp_path):
    """Attention whose scores may exceed 65,504 inside the node is an fp32 node, though what it gives is small."""
    node = op("com.microsoft::MultiHeadAttention", "q k v", "attended", num_heads=2, scale=0.5)
    graph = tiny([node, op("Mul", "attended two", "y")], {"two": np.float32(2)}, dict.fromkeys("qkv", ("b", "s", 8)))
    small = np.random.default_rng(0).integers(1, 4, (1, 5, 8)).astype(np.float32)

    def fp32_nodes(size):
        batch = {"q": small * size, "k": small * size, "v": small}
        return reasons_of(plan_fp16(graph, measure_ranges(graph, [batch], tmp_path)))

    assert fp32_nodes(1) == {}
    found = fp32_nodes(128)
    assert list(found) == ["attended"]
    assert found["attended"].startswith("has scores that may reach ")
    assert found["attended"].endswith("fp16 ends at 65504")


def test_bytes_are_those_of_the_islands_weights(tmp_path):
    """`extra_bytes` of a plan is what the fp16 graph really grows by."""
    graph = overflowing()
    plan = planned(graph, tmp_path)
    assert {fp32_node.node: fp32_node.extra_bytes for fp32_node in plan.fp32_nodes} == {
        "product": 64 * 64 * 2,
        "scaled": 2,
    }
    plain, kept = (with_precision(graph, "fp16", fp32_nodes).model for fp32_nodes in ((), plan.names))
    assert weight_bytes(kept) - weight_bytes(plain) == plan.extra_bytes == 64 * 64 * 2 + 2


def test_what_the_export_keeps_is_by_design(tmp_path):
    """Marked nodes are fp32 nodes of every plan, with that reason, even where they overflow as well."""
    plan = planned(overflowing(full_precision=["product", "y"]), tmp_path)
    found = reasons_of(plan)
    assert list(found) == ["product", "scaled", "y"]
    assert found["product"] == found["y"] == BY_DESIGN
    assert found["scaled"].startswith("reads product, which overflows")


def test_islands_are_in_the_order_of_the_graph_and_always_the_same(tmp_path):
    """Two plans of the same graph are the same JSON."""
    first, second = (json.dumps(planned(overflowing(), tmp_path).to_json()) for _ in range(2))
    assert first == second
    assert [fp32_node["node"] for fp32_node in json.loads(first)["islands"]] == ["product", "scaled"]


def test_a_plan_comes_back_from_its_json(tmp_path):
    """What was written is read as the same plan."""
    plan = replace(planned(overflowing(), tmp_path), calibration="8 rows", warnings=("one",))
    assert plan_from(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_given_plan_is_filled_in(tmp_path):
    """Its fp32 nodes get the graph's order, their op and bytes, those by design are added, and all nodes are counted."""
    graph = overflowing(full_precision=["y"])
    given = PrecisionPlan(
        "fp16", (Fp32Node("scaled", "?", "mine", 7), Fp32Node("product", "?", "too", 7)), origin="given"
    )
    checked = check_plan(graph, given)
    assert [
        (fp32_node.node, fp32_node.op_type, fp32_node.reason, fp32_node.extra_bytes) for fp32_node in checked.fp32_nodes
    ] == [("product", "MatMul", "too", 64 * 64 * 2), ("scaled", "Mul", "mine", 2), ("y", "Add", BY_DESIGN, 2)]
    assert (checked.origin, checked.nodes) == ("given", 3)


def test_a_given_plan_with_unknown_nodes_is_refused():
    """The error counts them, names one, and says where the plan may be from."""
    given = PrecisionPlan("fp16", tuple(Fp32Node(node, "Add", "mine", 0) for node in ("y", "zoo", "ape")), 3, "given")
    with pytest.raises(UsageError, match="names 2 nodes that the graph does not have, such as ape: it was made for"):
        check_plan(overflowing(), given)
