"""GPU memory, as estimated in the manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..core.layout import graph_model
from ..core.manifest import GpuMemory, Manifest
from ..core.sizes import gigabytes
from ..engines.common.memory import bytes_together
from .finding import ERROR, Problem, Rule
from .models import Lint, Model


class _Estimate(NamedTuple):
    """A model with an estimate. `own`: its memory without CUDA's context; each loaded version has its instances."""

    model: Model
    manifest: Manifest
    memory: GpuMemory
    own: int


def _estimates(lint: Lint) -> Iterator[_Estimate]:
    for model in lint.models:
        manifest = model.manifest
        if manifest is not None and (memory := manifest.serving.memory) is not None:
            behind = lint.every.get(graph_model(model.name))
            versions = max(1, len(behind.loaded)) if behind is not None else 1
            yield _Estimate(model, manifest, memory, versions * memory.own)


def one_alone(lint: Lint) -> Iterator[Problem]:
    for model, _, memory, _ in _estimates(lint):
        budget = lint.gpu_memory or memory.gpu
        if memory.total > budget:
            yield Problem(
                model.name,
                f"it takes about {gigabytes(memory.total)} of a GPU that has {gigabytes(budget)}: export it with a smaller"
                " --max-batch-size or fewer --instances",
            )


def together(lint: Lint) -> Iterator[Problem]:
    """Adds up what shares a GPU: entries that name it, and entries that name none and run on all."""
    found = list(_estimates(lint))
    named: Sequence[int | None] = sorted({gpu for one in found for gpu in one.manifest.gpus})
    told = set()
    for gpu in named or (None,):
        sharing = [one for one in found if gpu is None or gpu in (one.manifest.gpus or (gpu,))]
        names = tuple(one.model.name for one in sharing)
        if (len(sharing) < 2 and all(one.own == one.memory.own for one in sharing)) or names in told:
            continue
        told.add(names)
        total = bytes_together([(one.memory.context, one.own, not one.manifest.has_graph_model) for one in sharing])
        budget = lint.gpu_memory or min(one.memory.gpu for one in sharing)
        if total > budget:
            where = "every GPU" if gpu is None else f"GPU {gpu}"
            parts = ", ".join(f"{one.model.name} {gigabytes(one.own)}" for one in sharing)
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
