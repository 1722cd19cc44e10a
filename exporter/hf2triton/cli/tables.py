"""Tables of exports, plans and validations for the command line, as (title, columns, rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.results import Score
from hf2triton_client.evaluation.scores import scores_of

from ..core.precision_plan import PrecisionPlan
from ..core.types import ExportReport, ParityReport

if TYPE_CHECKING:
    from ..build.plan import BuildPlan  # it needs the extra `export`

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
#: How many fp32 nodes the report of an export shows; another command lists the rest.
SHOWN = 8
#: How a plan was made, in words.
_ORIGINS = {
    "calibrated": "calibrated with {}",
    "searched": "calibrated with {}, then searched, since parity failed",
    "given": "as the given plan says",
}


def export_tables(report: ExportReport) -> list[Table]:
    """The report of an export, on one screen."""
    rows = [_row(name, parity, report.plans[name]) for name, parity in report.parity.items()]
    columns = ("frontend", "precision", "fp32 nodes", "largest difference", "agreement", "MB in fp32", "MB")
    tables: list[Table] = [(f"{report.family} {report.task}, compared with PyTorch in fp32", columns, rows)]
    for name, plan in report.plans.items():
        if plan.fp32_nodes:
            tables.append(plan_table(name, plan, SHOWN))
    if report.memory:
        tables.append(_memory_table(report))
    return tables


def _memory_table(report: ExportReport) -> Table:
    """The estimated GPU memory of each frontend's graph, in MB."""
    parts = ("weights", "activations", "arena", "kept")
    columns = ("frontend", "largest batch", "weights", "largest call", "arena beyond it", "kept", "instances", "in all")
    rows = [
        (
            name,
            own.max_batch_size,
            *(_megabytes(getattr(own, part)) for part in parts),
            own.instances,
            _megabytes(own.total),
        )
        for name, own in report.memory.items()
    ]
    one = next(iter(report.memory.values()))
    title = f"MB of a GPU that has {one.gpu / 1e9:g} GB, estimated, with {_megabytes(one.context)} for CUDA itself"
    return title, columns, rows


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def build_table(plan: BuildPlan) -> Table:
    """What a build would do."""
    from ..build.plan import UNLISTED

    rows = [
        (entry.name, entry.task or "", entry.options.precision, entry.state, "; ".join(entry.reasons))
        for entry in plan.entries
    ]
    rows += [(frontend, "", "", UNLISTED, "it stays as it is") for frontend in plan.unlisted]
    title = f"{plan.declared.path} → {plan.declared.repository}"
    return title, ("entry", "task", "precision", "state", "why"), rows


def counted(counts: Mapping[str, int]) -> str:
    """Counts in words, without zero counts."""
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"


def plan_table(name: str, plan: PrecisionPlan, most: int | None = None) -> Table:
    """The fp32 nodes of a plan, the first `most` of them."""
    shown = plan.fp32_nodes[:most]
    rows: list[tuple[object, ...]] = [(own.node, own.reason, own.extra_bytes) for own in shown]
    if len(shown) < len(plan.fp32_nodes):
        rows.append((f"and {len(plan.fp32_nodes) - len(shown)} more", f"hf2triton inspect {name} --precision", ""))
    title = (
        f"{name}: {len(plan.fp32_nodes)} of {plan.nodes} nodes stay fp32, {plan.extra_bytes:,} bytes more;"
        f" {_ORIGINS[plan.origin].format(plan.calibration)}"
    )
    return title, ("node", "why it stays fp32", "bytes more"), rows


def _row(name: str, parity: ParityReport, plan: PrecisionPlan) -> tuple[object, ...]:
    """A row for one model. Agreement is that of the best answers, if an output has one, otherwise that of directions, if it has
    one."""
    differences = [check.difference for check in parity.checks]
    argmax = [one.argmax for one in differences if one.argmax is not None]
    cosine = [one.cosine for one in differences if one.cosine is not None]
    agreement = f"{min(argmax):.1%}" if argmax else f"cosine {min(cosine):.5f}" if cosine else "–"
    sizes = (f"{size / 1e6:.1f}" for size in (parity.fp32_weight_bytes, parity.weight_bytes))
    fp32_nodes = f"{len(plan.fp32_nodes)} of {plan.nodes}"
    return (name, plan.precision, fp32_nodes, f"{parity.worst.difference.max_abs:.2g}", agreement, *sizes)


def recorded_json(
    source: str, dataset: Path | None, recorded: Mapping[str, Baseline], files: Mapping[str, str]
) -> dict[str, Any]:
    """What PyTorch was asked, and its scores on labelled data. `files`: suffix -> where the baseline was written."""
    frontends = [
        {
            "frontend": suffix.strip("_") or own.task,
            "file": files[suffix],
            "inputs": len(own),
            "scores": [{"name": one.name, "rows": one.rows, "value": one.served} for one in _scores(own)],
        }
        for suffix, own in recorded.items()
    ]
    return {"source": source, "dataset": None if dataset is None else str(dataset), "frontends": frontends}


def _scores(own: Baseline) -> Sequence[Score]:
    """PyTorch's scores on labelled data."""
    labels = {int(index): label for index, label in own.about["id2label"].items()}
    return () if own.questions is None else scores_of(own.task, own.questions, labels, own.questions.answers)


def recorded_table(recorded: Mapping[str, Any]) -> Table:
    """The same as a table."""
    rows: list[Sequence[object]] = []
    for own in recorded["frontends"]:
        rows.append((own["frontend"], "inputs", own["inputs"], ""))
        rows += [(own["frontend"], one["name"], one["rows"], f"{one['value']:.4g}") for one in own["scores"]]
    asked = recorded["dataset"] or "texts and images that come with hf2triton"
    return f"PyTorch, running {recorded['source']}, on {asked}", ("frontend", "what", "rows", "PyTorch"), rows
