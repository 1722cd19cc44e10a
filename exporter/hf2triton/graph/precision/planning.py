"""Which nodes of a graph keep fp32 when the rest becomes fp16, by what calibration measured of them.

A value that fp16 cannot hold makes fp32 nodes of the node that gives it and of those that read it.
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
from .conversion import FLOAT, quantizable

#: The largest number of fp16, and its smallest normal one, below which digits go missing
#: (https://en.wikipedia.org/wiki/Half-precision_floating-point_format).
LARGEST, SMALLEST_NORMAL = 65504.0, 2.0**-14
#: Other inputs than those that were calibrated with may reach further by this factor.
HEADROOM = 4
#: How far a node may be off, alone in fp16, as a share of what it gives. Nodes that fp16 suits are off by 0.02 to 0.15 %.
LOST = 1 / 64
#: Why nodes are fp32 nodes that the export itself has marked.
BY_DESIGN = "by design: a sum over the input's length, upcast attention, or an op that the release has in fp32 alone"


def plan_fp16(graph: Graph, ranges: Mapping[str, NodeRange], **about: object) -> PrecisionPlan:
    """The plan for an fp32 graph. `about`: the plan's other fields."""
    reasons = reasons_by_design(graph)
    unfit = _unfit(graph, ranges)
    for name, reason in unfit.items():
        reasons.setdefault(name, reason)
    for node in graph.model.graph:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and producer.name in unfit:
                reasons.setdefault(node.name, f"reads {producer.name}, which {unfit[producer.name]}")
            elif value is not None and value.is_initializer() and value.dtype == FLOAT and value.const_value.size:
                # small weights are left to what they do to the node: most biases can be 0 as well
                largest = float(np.abs(values_of(value.const_value)).max())
                if largest > LARGEST:
                    reasons.setdefault(node.name, f"has weights that overflow: up to {largest:.3g}")
        found = ranges.get(node.name)
        if found is None:
            continue
        if found.error > LOST and node.name not in reasons:
            off = f"is off by {found.error:.0%}" if np.isfinite(found.error) else "gives NaN or infinity"
            reasons[node.name] = f"loses its answer: alone in fp16 it {off}"
            # it is the digits of what it reads that go missing
            for producer in (value.producer() for value in node.inputs if value is not None and value.dtype == FLOAT):
                if producer is not None and np.isfinite(found.error):
                    reasons.setdefault(producer.name, f"is read by {node.name}, which needs all digits")
        if found.scores > LARGEST:
            reasons.setdefault(node.name, f"has scores that may reach {found.scores:.3g}; fp16 ends at {LARGEST:.0f}")
    return PrecisionPlan("fp16", islands_of(graph, reasons, "fp16"), len(convertible(graph)), **about)


def reasons_by_design(graph: Graph) -> dict[str, str]:
    """The nodes that the export itself keeps in fp32, with the reason."""
    return dict.fromkeys(graph.full_precision, BY_DESIGN)


def islands_of(graph: Graph, reasons: Mapping[str, str], precision: str) -> tuple[Fp32Node, ...]:
    """Islands in the order of the graph; names of nodes that the precision does not change are passed over."""
    return tuple(
        Fp32Node(node.name, node.op_type, reasons[node.name], _EXTRA_BYTES[precision](node))
        for node in CHANGED[precision](graph)
        if node.name in reasons
    )


def convertible(graph: Graph) -> list[ir.Node]:
    """The nodes that read or give floats, in the order of the graph."""
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
    """How much larger than usual the largest value is that a node reads: what int8 has few steps left for."""
    producer = node.inputs[0].producer()
    found = ranges.get(producer.name) if producer is not None else None
    return found.peak / found.rms if found is not None and found.rms else 0.0


def check_plan(graph: Graph, plan: PrecisionPlan) -> PrecisionPlan:
    """A plan that was given, with what its fp32 nodes cost in this graph. Raises UsageError for nodes that it does not have."""
    known = {node.name for node in CHANGED[plan.precision](graph)}
    unknown = sorted(plan.names - known)
    if unknown:
        raise UsageError(
            f"the precision plan names {len(unknown)} nodes that the graph does not have, such as {unknown[0]}: it was made"
            " for another checkpoint, task or attention"
        )
    reasons = reasons_by_design(graph) | {fp32_node.node: fp32_node.reason for fp32_node in plan.fp32_nodes}
    return replace(plan, fp32_nodes=islands_of(graph, reasons, plan.precision), nodes=len(known))


def _unfit(graph: Graph, ranges: Mapping[str, NodeRange]) -> dict[str, str]:
    """The nodes that give what fp16 cannot hold, with the reason."""
    reasons = {}
    for node in graph.model.graph:
        peak = ranges[node.name].peak if node.name in ranges else 0.0
        if not peak <= LARGEST / HEADROOM:
            what = "overflows" if not peak <= LARGEST else "may overflow"
            reasons[node.name] = f"{what}: it reaches {peak:.3g}, and fp16 ends at {LARGEST:.0f}"
        elif SMALLEST_NORMAL > peak > 0:
            below = f"stays below {peak:.2g}, and fp16 has all its digits from {SMALLEST_NORMAL:.2g} on"
            reasons[node.name] = f"vanishes: it {below}"
    return reasons


def _weights(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and value.is_initializer() and value.dtype == FLOAT]


#: precision -> what the weights of a node take more in fp32: all of them, or of int8 the matrix alone, scales not counted.
_EXTRA_BYTES: Mapping[str, Callable[[ir.Node], int]] = {
    "fp32": lambda node: 0,
    "fp16": lambda node: sum(value.const_value.nbytes // 2 for value in _weights(node)),
    "int8": lambda node: sum(value.const_value.nbytes * 3 // 4 for value in _weights(node) if value is node.inputs[1]),
}
