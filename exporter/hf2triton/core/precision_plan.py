"""Which nodes of a graph stay fp32 while the rest is converted, why, and what that costs.

`graph/precision/planning.py` makes a plan, or the user gives one. The manifest records it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError

FORMAT = 1
#: The key of the plan in manifests. An export's report has a plan for each frontend, under the plural of this key.
KEY = "precision_plan"


@dataclass(frozen=True)
class Fp32Node:
    """A node that stays fp32. `extra_bytes`: how much larger its weights are than after the conversion."""

    node: str
    op_type: str
    reason: str
    extra_bytes: int


@dataclass(frozen=True)
class PrecisionPlan:
    """The nodes that stay fp32 (`fp32_nodes`, in the order of the graph), out of `nodes` that could be converted.

    `origin`: "calibrated", "searched" (parity failed at first) or "given". `calibration`: the inputs on which the ranges were
    measured. `warnings`: what a reader of the report should know.
    """

    precision: str
    fp32_nodes: tuple[Fp32Node, ...] = ()
    nodes: int = 0
    origin: str = "calibrated"
    calibration: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(fp32_node.node for fp32_node in self.fp32_nodes)

    @property
    def extra_bytes(self) -> int:
        return sum(fp32_node.extra_bytes for fp32_node in self.fp32_nodes)

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"format": FORMAT, "islands": fields.pop("fp32_nodes"), **fields, "extra_bytes": self.extra_bytes}


def read_plan(path: Path, precision: str) -> PrecisionPlan:
    """The plan in a JSON file: a plan, a manifest or an export's report. Raises UsageError."""
    try:
        found = _plan_in(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"the precision plan {path} cannot be read: {error}") from error
    if len(found) != 1:
        what = (
            "several plans, one for each frontend: give the frontend's own manifest" if found else "no precision plan"
        )
        raise UsageError(f"{path} holds {what}")
    try:
        plan = plan_from(found[0])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the precision plan in {path} is not one of ours: {error!r}") from error
    if plan.precision != precision:
        raise UsageError(f"the plan in {path} is for {plan.precision}, and the export is in {precision}")
    return replace(plan, origin="given")


def plan_from(fields: Mapping[str, Any]) -> PrecisionPlan:
    """The plan in the output of `to_json`. Raises ValueError, KeyError and TypeError for anything else."""
    if fields["format"] != FORMAT:
        raise ValueError(f"it has format {fields['format']}; this version reads format {FORMAT}")
    known = {name: fields[name] for name in ("precision", "nodes", "origin", "calibration")}
    fp32_nodes = tuple(Fp32Node(**fp32_node) for fp32_node in fields["islands"])
    if not all(isinstance(value, str) for fp32_node in fp32_nodes for value in (fp32_node.node, fp32_node.reason)):
        raise TypeError("an fp32 node's name and reason are texts")
    return PrecisionPlan(**known, fp32_nodes=fp32_nodes, warnings=tuple(fields["warnings"]))


def _plan_in(content: Any) -> list[Mapping[str, Any]]:
    """The plans in a file's content: the content itself, the plan of a manifest, or those of an export's report."""
    if not isinstance(content, Mapping):
        return []
    if "islands" in content:
        return [content]
    several = content.get(f"{KEY}s")
    return [content[KEY]] if KEY in content else list(several.values()) if isinstance(several, Mapping) else []
