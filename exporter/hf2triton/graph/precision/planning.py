"""Decides from calibration which nodes of a graph stay fp32 when the rest becomes fp16.

If fp16 cannot hold a value, the node that computes it and the nodes that read it stay fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ...core.precision_plan import Fp32Node, PrecisionPlan
from ...core.types import Graph, NodeRange
from ...errors import UsageError
from ..passes.initializers import values_of
from ..passes.values import bytes_of, constant_of, input_of, name_of
from .conversion import FLOAT, quantizable

#: The largest number of fp16, and its smallest normal number; below the latter, digits are lost
#: (https://en.wikipedia.org/wiki/Half-precision_floating-point_format).
LARGEST, SMALLEST_NORMAL = 65504.0, 2.0**-14
#: The factor by which the values of other inputs may exceed those of the calibration.
HEADROOM = 4
#: The largest error of a node that runs alone in fp16, as a share of its output. Nodes that suit fp16 are off by 0.02 to 0.15 %.
LOST = 1 / 64
#: The reason given for nodes that the export itself keeps in fp32.
BY_DESIGN = (
    "by design: a sum over the input's length, positions, upcast attention, or an op that the release has in fp32 alone"
)


def plan_fp16(graph: Graph, ranges: Mapping[str, NodeRange]) -> PrecisionPlan:
    """The plan for an fp32 graph, based on the ranges of its nodes."""
    reasons = reasons_by_design(graph)
    unfit = _unfit(graph, ranges)
    for unfit_node, reason in unfit.items():
        reasons.setdefault(unfit_node, reason)
    for node in graph.model.graph:
        name = name_of(node)
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and name_of(producer) in unfit:
                reasons.setdefault(name, f"reads {producer.name}, which {unfit[name_of(producer)]}")
            elif value is not None and value.is_initializer() and value.dtype == FLOAT and constant_of(value).size:
                # tiny weights are judged by their effect on the node: most biases could just as well be 0
                largest = float(np.abs(values_of(constant_of(value))).max())
                if largest > LARGEST:
                    reasons.setdefault(name, f"has weights that overflow: up to {largest:.3g}")
        found = ranges.get(name)
        if found is None:
            continue
        if found.error > LOST and name not in reasons:
            off = f"is off by {found.error:.0%}" if np.isfinite(found.error) else "gives NaN or infinity"
            reasons[name] = f"loses its answer: alone in fp16 it {off}"
            # the digits are lost in the values that it reads
            for producer in (value.producer() for value in node.inputs if value is not None and value.dtype == FLOAT):
                if producer is not None and np.isfinite(found.error):
                    reasons.setdefault(name_of(producer), f"is read by {name}, which needs all digits")
        if found.scores > LARGEST:
            reasons.setdefault(name, f"has scores that may reach {found.scores:.3g}; fp16 ends at {LARGEST:.0f}")
    return PrecisionPlan("fp16", fp32_nodes_of(graph, reasons, "fp16"), len(convertible(graph)))


def reasons_by_design(graph: Graph) -> dict[str, str]:
    """The nodes that the export itself keeps in fp32, with the reason."""
    return dict.fromkeys(graph.full_precision, BY_DESIGN)


def fp32_nodes_of(graph: Graph, reasons: Mapping[str, str], precision: str) -> tuple[Fp32Node, ...]:
    """The nodes that have a reason and that the precision would change, in the order of the graph."""
    return tuple(
        Fp32Node(name_of(node), node.op_type, reasons[name_of(node)], _EXTRA_BYTES[precision](node))
        for node in CHANGED[precision](graph)
        if node.name in reasons
    )


def convertible(graph: Graph) -> list[ir.Node]:
    """The nodes that read or compute floats, in the order of the graph."""
    return [
        node
        for node in graph.model.graph
        if any(value is not None and value.dtype == FLOAT for value in (*node.inputs, *node.outputs))
    ]


#: precision -> the nodes that it changes
CHANGED: Mapping[str, Callable[[Graph], list[ir.Node]]] = {
    "fp32": convertible,
    "fp16": convertible,
    "int8": quantizable,
}


def input_crest(node: ir.Node, ranges: Mapping[str, NodeRange]) -> float:
    """The largest value that a node reads divided by their RMS: where it is large, int8 has few steps left for usual values."""
    producer = input_of(node, 0).producer()
    found = ranges.get(name_of(producer)) if producer is not None else None
    return found.peak / found.rms if found is not None and found.rms else 0.0


def check_plan(graph: Graph, plan: PrecisionPlan) -> PrecisionPlan:
    """The user's plan, with the cost of its fp32 nodes in this graph. Raises UsageError for nodes that the graph lacks."""
    known = {node.name for node in CHANGED[plan.precision](graph)}
    unknown = sorted(plan.names - known)
    if unknown:
        raise UsageError(
            f"the precision plan names {len(unknown)} nodes that the graph does not have, such as {unknown[0]}: it was made"
            " for another checkpoint, task or attention"
        )
    reasons = reasons_by_design(graph) | {fp32_node.node: fp32_node.reason for fp32_node in plan.fp32_nodes}
    return replace(plan, fp32_nodes=fp32_nodes_of(graph, reasons, plan.precision), nodes=len(known))


def _unfit(graph: Graph, ranges: Mapping[str, NodeRange]) -> dict[str, str]:
    """The nodes whose output fp16 cannot hold, with the reason."""
    reasons = {}
    for name in map(name_of, graph.model.graph):
        peak = ranges[name].peak if name in ranges else 0.0
        if not peak <= LARGEST / HEADROOM:
            what = "overflows" if not peak <= LARGEST else "may overflow"
            reasons[name] = f"{what}: it reaches {peak:.3g}, and fp16 ends at {LARGEST:.0f}"
        elif SMALLEST_NORMAL > peak > 0:
            below = f"stays below {peak:.2g}, and fp16 has all its digits from {SMALLEST_NORMAL:.2g} on"
            reasons[name] = f"vanishes: it {below}"
    return reasons


def _weights(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and value.is_initializer() and value.dtype == FLOAT]


#: precision -> the bytes that fp32 adds to a node's weights: to all of them, or for int8 only to the matrix, without scales.
_EXTRA_BYTES: Mapping[str, Callable[[ir.Node], int]] = {
    "fp32": lambda node: 0,
    "fp16": lambda node: bytes_of(_weights(node)) // 2,
    "int8": lambda node: bytes_of(value for value in _weights(node) if value is node.inputs[1]) * 3 // 4,
}
