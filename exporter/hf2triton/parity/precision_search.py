"""Decides which nodes stay fp32: by calibration, by the user's plan or, if parity still fails, by search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..core.options import ExportOptions
from ..core.precision_plan import PrecisionPlan, read_plan
from ..core.types import Graph, NodeRange, ParityCheck, StoredGraph
from ..graph.passes.values import name_of
from ..graph.precision.calibration import measure_ranges
from ..graph.precision.planning import CHANGED, check_plan, fp32_nodes_of, input_crest, plan_fp16, reasons_by_design
from ..graph.precision.search import smallest_set
from ..graph.precision.smooth import smooth
from ..graph.storage import store, unload
from .calibration_inputs import Calibration

Ranges = Mapping[str, NodeRange]
#: The reason given for fp32 nodes that the search found.
FOUND = "found by search: without it parity fails"


def prepare(graph: Graph, options: ExportOptions, calibration: Calibration, folder: Path) -> Graph:
    """The fp32 graph prepared for its precision; its results do not change. `folder`: where `unload` put its weights."""
    # a decoder's int8 has a scale for every few values, so large channels are harmless
    if options.precision != "int8" or graph.state:
        return graph
    return unload(smooth(graph, calibration.feeds, folder), folder, "even.data")


def calibrate(graph: Graph, options: ExportOptions, calibration: Calibration, folder: Path) -> Ranges:
    """The ranges of the graph's nodes, if the precision depends on them. `folder`: where `unload` put the weights."""
    if options.precision == "fp32" or options.precision_plan is not None:
        return {}
    return measure_ranges(graph, calibration.feeds, folder)


def plan_precision(graph: Graph, options: ExportOptions, calibration: Calibration, ranges: Ranges) -> PrecisionPlan:
    """The user's plan, or else one based on the ranges. Raises UsageError for a plan that does not fit."""
    if options.precision_plan is not None:
        return check_plan(graph, read_plan(options.precision_plan, options.precision))
    precision, nodes = options.precision, len(CHANGED[options.precision](graph))
    if precision == "fp32":
        return PrecisionPlan(precision, nodes=nodes)
    if precision == "fp16":
        plan = plan_fp16(graph, ranges)
    else:
        plan = PrecisionPlan(precision, fp32_nodes_of(graph, reasons_by_design(graph), precision), nodes)
    return replace(plan, calibration=calibration.about, warnings=calibration.warnings)


def can_search(plan: PrecisionPlan) -> bool:
    """Whether another plan may help: the user's plan is never changed, and fp32 has no other."""
    return plan.origin != "given" and plan.precision != "fp32"


def search_plan(
    graph: Graph,
    plan: PrecisionPlan,
    ranges: Ranges,
    checks_of: Callable[[StoredGraph], Iterable[ParityCheck]],
    folder: Path,
) -> PrecisionPlan:
    """The plan with the fewest additional fp32 nodes that passes parity; the given plan if none passes.

    The plan's existing fp32 nodes stay: they protect against larger values of other inputs.
    """
    by_design = {fp32_node.node: fp32_node.reason for fp32_node in plan.fp32_nodes}
    candidates = [name for name in _suspects(graph, plan.precision, ranges) if name not in by_design]

    def with_fp32_nodes(names: Iterable[str]) -> PrecisionPlan:
        reasons = by_design | dict.fromkeys(names, FOUND)
        return replace(plan, fp32_nodes=fp32_nodes_of(graph, reasons, plan.precision), origin="searched")

    def passes(names: list[str]) -> bool:
        return all(check.difference.passed for check in checks_of(store(graph, with_fp32_nodes(names), folder)))

    found = smallest_set(candidates, passes)
    return plan if found is None else with_fp32_nodes(found)


def _suspects(graph: Graph, precision: str, ranges: Ranges) -> list[str]:
    """The candidates for fp32; those that suffer most from the precision come first."""
    if precision == "int8":
        return [
            name_of(node) for node in sorted(CHANGED[precision](graph), key=lambda node: -input_crest(node, ranges))
        ]
    names = [name_of(node) for node in CHANGED[precision](graph)]
    return sorted(names, key=lambda name: -ranges[name].error if name in ranges else 0.0)
