"""Memory of GPUs, as the manifests estimate it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.layout import graph_model
from ..core.sizes import gigabytes
from ..engines.common.memory import bytes_together
from .finding import ERROR, Problem, Rule
from .models import Lint, Model


def _estimates(lint: Lint) -> Iterator[tuple[Model, Mapping[str, Any], int]]:
    """Models with an estimate, and what they take without CUDA's context. Each version that is loaded has its own instances."""
    for model in lint.models:
        memory = model.manifest and model.manifest["serving"]["memory"]
        if memory:
            behind = lint.every.get(graph_model(model.name))
            versions = max(1, len(behind.loaded)) if behind is not None else 1
            yield model, memory, versions * (memory["total"] - memory["context"])


def one_alone(lint: Lint) -> Iterator[Problem]:
    for model, memory, _ in _estimates(lint):
        budget = lint.gpu_memory or memory["gpu"]
        if memory["total"] > budget:
            yield Problem(
                model.name,
                f"it takes about {gigabytes(memory['total'])} of a GPU that has {gigabytes(budget)}: export it with a smaller"
                " --max-batch-size or fewer --instances",
            )


def together(lint: Lint) -> Iterator[Problem]:
    """What shares a GPU: entries that name it, and those that name none and run on all."""
    found = list(_estimates(lint))
    named = sorted({gpu for model, _, _ in found for gpu in model.manifest["options"]["gpus"] or ()})
    told = set()
    for gpu in named or [None]:
        sharing = [row for row in found if gpu is None or (row[0].manifest["options"]["gpus"] or (gpu,)).count(gpu)]
        names = tuple(model.name for model, _, _ in sharing)
        if len(sharing) < 2 and all(row[2] + row[1]["context"] == row[1]["total"] for row in sharing) or names in told:
            continue
        told.add(names)
        total = bytes_together(
            [(memory["context"], own, model.manifest["serving"]["runner"] != "bls") for model, memory, own in sharing]
        )
        budget = lint.gpu_memory or min(row[1]["gpu"] for row in sharing)
        if total > budget:
            where = "every GPU" if gpu is None else f"GPU {gpu}"
            parts = ", ".join(f"{model.name} {gigabytes(own)}" for model, _, own in sharing)
            yield Problem(
                where,
                f"together they take about {gigabytes(total)} of {gigabytes(budget)} ({parts}; each version that stays loaded"
                " counts): give them other --gpus, smaller batches or fewer instances, or prune old versions",
            )


RULES = (
    Rule("memory-entry", ERROR, "repository", "an entry that takes more memory than a GPU has", one_alone),
    Rule(
        "memory-sum",
        ERROR,
        "repository",
        "entries that together take more memory than the GPU that they share has",
        together,
    ),
)
