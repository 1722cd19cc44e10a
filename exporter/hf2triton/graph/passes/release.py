"""Triton releases, what their onnxruntime runs, and how a graph is fitted to a release.

Sources: the release notes of NVIDIA Triton (the containers' onnxruntime), onnxruntime's table of versions
(https://github.com/microsoft/onnxruntime/blob/main/docs/Versioning.md), and for NEEDS each version itself, tested with
`hf2triton verify` on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...core.types import Graph
from ...errors import ExportError, UnknownName
from .values import input_of, name_of, shares_bias

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Release:
    """A range of Triton releases (`first` … `last`, as YY.MM) that share one onnxruntime, with the highest IR version and opset
    that it loads. An onnxruntime version of two numbers stands for all its patch releases."""

    first: str
    last: str
    onnxruntime: str
    ir_version: int
    opset: int

    @property
    def span(self) -> str:
        return self.first if self.first == self.last else f"{self.first}–{self.last}"


RELEASES = (
    Release("23.12", "24.02", "1.16.3", 9, 19),
    Release("24.03", "24.04", "1.17", 9, 20),
    Release("24.05", "24.07", "1.18", 10, 21),
    Release("24.08", "24.11", "1.19", 10, 21),
    Release("24.12", "25.02", "1.20.1", 10, 21),
    Release("25.03", "25.04", "1.21.0", 10, 22),
    Release("25.05", "25.07", "1.22.0", 10, 22),
    Release("25.08", "26.01", "1.23", 11, 23),
    Release("26.02", "26.06", "1.24", 13, 25),
    Release("26.07", "26.07", "1.27.0", 13, 26),
    Release("26.08", "26.08", "1.28.0", 13, 26),
)

#: The opset and IR version of a graph for no particular release; it loads on 24.05 and later.
OPSET, IR_VERSION = 20, 10


#: The first onnxruntime whose SkipLayerNormalization sums fp16 in fp32 on CUDA. Older ones must not fuse it.
EXACT_SKIP_NORM = "1.28"


@dataclass(frozen=True)
class ReleaseNeed:
    """A feature of a graph that is newer than the oldest release: nodes of `op` (domain and name) for which `when` is true.
    `onnxruntime`: the first version that computes them correctly on a CPU. `instead`: how to export without them."""

    what: str
    op: tuple[str, str]
    onnxruntime: str
    instead: str
    when: Callable[[ir.Node], bool] = lambda node: True


def _is_half(node: ir.Node) -> bool:
    dtype = input_of(node, 0).dtype
    return dtype is not None and dtype.name == "FLOAT16"


#: Ops that stay in fp32 on older releases: 1.16 has no fp16 kernel for them, falls back on the ops' definitions, and rejects
#: these.
_IN_HALF = (
    ReleaseNeed("LayerNormalization in fp16", ("", "LayerNormalization"), "1.17", "--precision fp32", _is_half),
    ReleaseNeed("Softmax in fp16", ("", "Softmax"), "1.17", "--precision fp32", _is_half),
)


#: Older versions read beyond the bias of one row and give wrong answers, or refuse that of one head.
_SHARED_BIAS = ReleaseNeed(
    "MultiHeadAttention with one bias for all rows",
    ("com.microsoft", "MultiHeadAttention"),
    "1.20",
    "--release, which repeats it",
    shares_bias,
)
#: Even the oldest release computes MultiHeadAttention correctly with any mask, unless it is causal.
NEEDS = (
    *_IN_HALF,
    ReleaseNeed(
        "causal MultiHeadAttention",
        ("com.microsoft", "MultiHeadAttention"),
        "1.17",
        "--attention standard",
        lambda node: node.attributes.get_int("unidirectional", 0) == 1,
    ),
    _SHARED_BIAS,
    # 1.17 lacks it in fp32; 1.18 and 1.19 give wrong answers from a prompt's second piece on
    ReleaseNeed(
        "GroupQueryAttention with a prompt in pieces",
        ("com.microsoft", "GroupQueryAttention"),
        "1.20",
        "--attention standard",
    ),
    # older versions do not count a token itself, and so look one position further back:
    # https://github.com/microsoft/onnxruntime/pull/25927
    ReleaseNeed(
        "GroupQueryAttention with a window",
        ("com.microsoft", "GroupQueryAttention"),
        "1.24",
        "--attention standard",
        lambda node: node.attributes.get_int("local_window_size", -1) > 0,
    ),
    # 1.22 computes it on x86 but rejects it on ARM: https://github.com/microsoft/onnxruntime/issues/24769
    ReleaseNeed(
        "MatMulNBits with 8 bits on every CPU",
        ("com.microsoft", "MatMulNBits"),
        "1.23",
        "--precision fp16",
        lambda node: node.attributes.get_int("bits", 4) == 8,
    ),
)


def find_release(name: str | None) -> Release | None:
    """The row of a release such as "25.03"; None for None. Raises UnknownName, which lists the known ranges."""
    if name is None:
        return None
    for release in RELEASES:
        if _in_range(name, release):
            return release
    raise UnknownName("release", name, (release.span for release in RELEASES))


def opset_for(release: Release | None) -> int:
    """The opset to export with: the default if the release loads it, otherwise the release's highest."""
    return OPSET if release is None else min(OPSET, release.opset)


def fit(graph: Graph, release: Release | None, precision: str = "fp32") -> Graph:
    """Sets the IR version, checks the opset against the release, and avoids ops that the release computes less exactly in the
    precision.

    Raises ExportError.
    """
    graph.model.ir_version = IR_VERSION if release is None else min(IR_VERSION, release.ir_version)
    if precision == "fp16" and (release is None or _numbers(release.onnxruntime) < _numbers(EXACT_SKIP_NORM)):
        from .cleaning import UnfuseResiduals

        UnfuseResiduals()(graph.model)
    if release is None:
        return graph
    if not _has(release, _SHARED_BIAS):
        from .repeat_bias import RepeatBias

        RepeatBias()(graph.model)
    opset = graph.model.opset_imports[""]
    if opset > release.opset:
        raise ExportError(f"the graph has opset {opset}; {release.span} loads at most {release.opset}")
    kept = {need.op for need in _IN_HALF if not _has(release, need)}
    names = {name_of(node) for node in graph.model.graph if _op(node) in kept}
    return replace(graph, full_precision=graph.full_precision | names)


def require_release(graph: Graph, release: Release | None) -> Graph:
    """The graph, if the release (None: any) supports everything in it. Raises ExportError, which names what is missing."""
    if release is None:
        return graph
    lacking = [need for need in needs_of(graph) if not _has(release, need)]
    if lacking:
        named = ", and ".join(
            f"{need.what}: the first release that has it is {_first([need]).first}; use {need.instead}"
            for need in lacking
        )
        raise ExportError(f"Triton {release.span} has onnxruntime {release.onnxruntime}, which lacks {named}")
    return graph


def needs_of(graph: Graph) -> list[ReleaseNeed]:
    """The rows of NEEDS that apply to a graph."""
    nodes = list(graph.model.graph)
    return [need for need in NEEDS if any(_op(node) == need.op and need.when(node) for node in nodes)]


def first_release(graph: Graph) -> Release:
    """The row of the first release that runs a graph; all later ones run it too."""
    return _first(needs_of(graph), graph.model.ir_version, graph.model.opset_imports[""])


def first_onnxruntime(graph: Graph) -> str:
    """The first version of onnxruntime that runs a graph."""
    loading = _first([], graph.model.ir_version, graph.model.opset_imports[""]).onnxruntime
    return max([loading, *(need.onnxruntime for need in needs_of(graph))], key=_numbers)


def _first(needs: list[ReleaseNeed], ir_version: int = 0, opset: int = 0) -> Release:
    return next(
        row
        for row in RELEASES
        if row.ir_version >= ir_version and row.opset >= opset and all(_has(row, need) for need in needs)
    )


def _has(release: Release, need: ReleaseNeed) -> bool:
    return _numbers(release.onnxruntime) >= _numbers(need.onnxruntime)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _op(node: ir.Node) -> tuple[str, str]:
    return node.domain, node.op_type


def _in_range(name: str, release: Release) -> bool:
    """Whether the release is in the range; YY.MM compares as text."""
    year, dot, month = name.partition(".")
    well_formed = dot and len(year) == len(month) == 2 and year.isdigit() and month.isdigit() and 1 <= int(month) <= 12
    return bool(well_formed) and release.first <= name <= release.last
