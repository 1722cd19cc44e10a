"""Triton releases and what their onnxruntime loads; fitting a graph to one.

Sources: the release notes of NVIDIA Triton (the containers' onnxruntime) and onnxruntime's own table of versions
(https://github.com/microsoft/onnxruntime/blob/main/docs/Versioning.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..artifacts import Graph
from ..errors import ExportError, UnknownName


@dataclass(frozen=True)
class Release:
    """A range of Triton releases (`first` … `last`, as YY.MM) with one onnxruntime, its highest IR and opset."""

    first: str
    last: str
    onnxruntime: str
    ir_version: int
    opset: int


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

#: The opset and IR of graphs without a release: they load on all releases from 24.05 on.
OPSET, IR_VERSION = 20, 10
#: The opset that PyTorch's exporter starts from; a graph for an older release would have to be converted down.
LOWEST_OPSET = 18


def find_release(name: str | None) -> Release | None:
    """The row of a release such as "25.03"; None for None. Raises UnknownName, which lists the ranges."""
    if name is None:
        return None
    for release in RELEASES:
        if _in_range(name, release):
            return release
    raise UnknownName("release", name, (_span(release) for release in RELEASES))


def opset_for(release: Release | None) -> int:
    """The opset to export with: the default where the release loads it, else the release's highest."""
    return OPSET if release is None else min(OPSET, release.opset)


def fit(graph: Graph, release: Release | None) -> Graph:
    """Sets the IR version and checks the opset against the release. Raises ExportError."""
    graph.model.ir_version = IR_VERSION if release is None else min(IR_VERSION, release.ir_version)
    opset = graph.model.opset_imports[""]
    if release is not None and opset > release.opset:
        raise ExportError(f"the graph has opset {opset}; {_span(release)} loads at most {release.opset}")
    return graph


def _in_range(name: str, release: Release) -> bool:
    """YY.MM of equal length compare as text."""
    year, dot, month = name.partition(".")
    well_formed = dot and len(year) == len(month) == 2 and year.isdigit() and month.isdigit() and 1 <= int(month) <= 12
    return bool(well_formed) and release.first <= name <= release.last


def _span(release: Release) -> str:
    return release.first if release.first == release.last else f"{release.first}–{release.last}"
