"""Triton releases: every month has a row, and a graph fits the one it is made for."""

import json
from dataclasses import replace

import onnx_ir as ir
import pytest

from hf2triton.core.types import Graph
from hf2triton.errors import ExportError, UnknownName
from hf2triton.graph.passes.release import (
    IR_VERSION,
    NEEDS,
    OPSET,
    RELEASES,
    find_release,
    first_onnxruntime,
    first_release,
    fit,
    opset_for,
    require_release,
)

from ...conftest import export_asset
from ...support import rest_slow


def months(first: str, last: str) -> list[str]:
    year, month = map(int, first.split("."))
    found = []
    while f"{year:02}.{month:02}" <= last:
        found.append(f"{year:02}.{month:02}")
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return found


def test_the_table_has_no_gaps():
    """Every month from the first release to the last belongs to exactly one row, and versions only grow."""
    covered = [month for row in RELEASES for month in months(row.first, row.last)]
    assert covered == months(RELEASES[0].first, RELEASES[-1].last)
    assert [row.ir_version for row in RELEASES] == sorted(row.ir_version for row in RELEASES)
    assert [row.opset for row in RELEASES] == sorted(row.opset for row in RELEASES)


@pytest.mark.parametrize(("name", "runtime"), [("23.12", "1.16.3"), ("25.01", "1.20.1"), ("26.08", "1.28.0")])
def test_a_release_is_found(name, runtime):
    """A month inside a row's range finds the row."""
    assert find_release(name).onnxruntime == runtime


@pytest.mark.parametrize("name", ["23.11", "26.09", "24.13", "24.5", "latest", "", "2024.05"])
def test_an_unknown_release_lists_the_known(name):
    """A release that is not in the table is refused, with the ranges that are."""
    with pytest.raises(UnknownName, match=r"23.12–24.02"):
        find_release(name)


def test_the_default_loads_from_2405_on():
    """Opset 20 and IR 10 load on every release from 24.05 on, which the default promises."""
    able = [row.first for row in RELEASES if row.opset >= OPSET and row.ir_version >= IR_VERSION]
    assert able == [row.first for row in RELEASES if row.first >= "24.05"]


def test_older_releases_get_a_lower_opset():
    """For a release that loads less, the graph is exported with less."""
    assert [opset_for(find_release(name)) for name in (None, "23.12", "24.03", "26.08")] == [20, 19, 20, 20]


def graph_of(*nodes: ir.Node, opset: int = OPSET, ir_version: int = IR_VERSION) -> Graph:
    opsets = {"": opset, "com.microsoft": 1}
    model = ir.Model(ir.Graph([], [], nodes=nodes, opset_imports=opsets), ir_version=ir_version)
    return Graph(model, (), (), "fused")


def node(op: str, domain: str = "com.microsoft", dtype: ir.DataType = ir.DataType.FLOAT, **attributes: int) -> ir.Node:
    return ir.node(op, [ir.Value(name="x", type=ir.TensorType(dtype))], attributes, domain=domain, name=f"the_{op}")


def biased(rows: int | str, heads: int) -> ir.Node:
    """Attention whose scores get a bias."""
    attention = node("MultiHeadAttention")
    bias = ir.Value(name="bias", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([rows, heads, "s", "s"]))
    attention.resize_inputs(6)
    attention.replace_input_with(5, bias)
    return attention


HALF = ir.DataType.FLOAT16
#: What a graph may contain, the first release that runs it and the first onnxruntime.
CONTENTS = [
    (node("MatMul", ""), "24.05", "1.18"),
    (node("MultiHeadAttention"), "24.05", "1.18"),
    (biased("batch", 4), "24.05", "1.18"),
    (biased(1, 4), "24.12", "1.20"),
    (biased(1, 1), "24.12", "1.20"),
    (biased("batch", 1), "24.12", "1.20"),
    (node("GroupQueryAttention"), "24.12", "1.20"),
    (node("GroupQueryAttention", local_window_size=-1), "24.12", "1.20"),
    (node("GroupQueryAttention", local_window_size=8), "26.02", "1.24"),
    (node("MatMulNBits", bits=8), "25.08", "1.23"),
    (node("MatMulNBits", bits=4), "24.05", "1.18"),
]
#: The same for a graph that is made for the oldest release.
OLD_CONTENTS = [
    (node("MultiHeadAttention"), "23.12", "1.16.3"),
    (node("MultiHeadAttention", unidirectional=1), "24.03", "1.17"),
    (node("LayerNormalization", ""), "23.12", "1.16.3"),
    (node("LayerNormalization", "", HALF), "24.03", "1.17"),
    (node("Softmax", "", HALF), "24.03", "1.17"),
    (node("MatMul", "", HALF), "23.12", "1.16.3"),
]


@pytest.mark.parametrize(
    ("graph", "release", "runtime"),
    [(graph_of(node), *expected) for node, *expected in CONTENTS]
    + [(graph_of(node, opset=19, ir_version=9), *expected) for node, *expected in OLD_CONTENTS],
)
def test_what_a_graph_contains_says_where_it_runs(graph, release, runtime):
    """The first release is that of the newest op, or of the IR and opset."""
    assert first_release(graph).first == release
    assert first_onnxruntime(graph) == runtime
    assert require_release(graph, first_release(graph)) is graph
    assert require_release(graph, None) is graph


def test_needs_are_newer_than_the_oldest_release():
    """Each need names something else, and a version that is among the releases' but not the oldest."""
    assert len({need.what for need in NEEDS}) == len(NEEDS)
    for need in NEEDS:
        plain = node(need.op[1], need.op[0], HALF, unidirectional=1, bits=8, local_window_size=4)
        contains = plain if need.when(plain) else biased(1, 1)
        assert first_release(graph_of(contains, opset=19, ir_version=9)) in RELEASES[1:]


def test_a_release_that_is_too_old_is_refused():
    """What it lacks is named, with the first release that has it and how to do without."""
    graph = graph_of(node("GroupQueryAttention"), node("MatMulNBits", bits=8))
    with pytest.raises(ExportError) as caught:
        require_release(graph, find_release("24.06"))
    assert str(caught.value) == (
        "Triton 24.05–24.07 has onnxruntime 1.18, which lacks GroupQueryAttention with a prompt in pieces: the first release"
        " that has it is 24.12; use --attention standard, and MatMulNBits with 8 bits on every CPU: the first release that has"
        " it is 25.08; use --precision fp16"
    )


def test_the_oldest_keeps_in_fp32_what_it_lacks_in_fp16():
    """Its LayerNormalization and Softmax are noted before the conversion; newer releases and other nodes are left alone."""
    graph = graph_of(node("LayerNormalization", ""), node("Softmax", ""), node("MatMul", ""), opset=19)
    graph = replace(graph, full_precision=frozenset({"before"}))
    fitted = fit(graph, find_release("23.12"))
    assert fitted.full_precision == {"before", "the_LayerNormalization", "the_Softmax"}
    assert fitted.model.ir_version == 9
    assert fit(graph, find_release("24.03")).full_precision == {"before"}
    assert fit(graph, None).full_precision == {"before"}


@pytest.mark.parametrize(("precision", "first"), rest_slow([("int8", "25.08"), ("fp16", "24.12")]))
def test_generation_is_not_exported_for_a_release_that_is_too_old(tmp_path, precision, first):
    """The check is of the final graph, int8's op included; nothing is written."""
    with pytest.raises(ExportError, match=f"has onnxruntime 1.18, which lacks .* is {first}; use") as caught:
        export_asset(tmp_path / "r", "gpt2", "text-generation", precision, release="24.05")
    assert caught.value.stage == "check what the release has"
    assert not (tmp_path / "r").exists()


def test_the_manifest_says_from_which_release_on_it_runs(tmp_path):
    """Without --release nothing is refused; the report has the first release."""
    report = export_asset(tmp_path / "r", "gpt2", "text-generation", "fp32", name="verses")
    graph = report.entry.manifests["verses"].graph
    assert (graph.release, graph.first_release) == (None, "24.12")
    frontend = json.loads((tmp_path / "r" / "verses" / "1" / "front.json").read_text())
    assert frontend["onnxruntime"] == "1.20"
