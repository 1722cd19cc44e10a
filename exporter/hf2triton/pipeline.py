"""The stages of an export, in order. Start reading here.

    source ─find→ files ─load→ checkpoint (─merge an adapter→ checkpoint)
    for each front of its task (most have one):
        checkpoint ─baseline→ PyTorch's answers
        checkpoint ─export→ graph ─clean, fit→ graph ─precision, check→ graph ─store→ file ─parity→ report
    reports, files ─publish→ entry

Each stage is one function in one module; it takes frozen dataclasses and returns one (see artifacts.py). Nothing is
written into the repository before parity has passed, and a failure leaves it as it was.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .artifacts import ExportOptions, ExportReport
from .errors import ExportError, Hf2TritonError, UsageError
from .repository.layout import check_name
from .tasks import Task, find_task

if TYPE_CHECKING:
    from .graph.release import Release

Result = TypeVar("Result")
#: Called when a stage begins, with its description.
Progress = Callable[[str], None]

#: kind of graph -> device -> the runner it uses unless told otherwise, and those it can use. A decoder's state stays where
#: its graph is: to hand it from model to model costs more than the graph itself.
RUNNERS = {
    "encoder": {"cpu": ("inprocess", "bls"), "cuda": ("bls",)},
    "decoder": {"cpu": ("inprocess",), "cuda": ("inprocess",)},
}
#: The same for precisions.
PRECISIONS = {
    "encoder": {"cpu": ("fp32", "fp16"), "cuda": ("fp32", "fp16")},
    "decoder": {"cpu": ("fp32", "fp16", "int8"), "cuda": ("fp32", "fp16")},
}
#: As graph/attention.py and graph/decoder_attention.py have them, which need PyTorch.
ATTENTIONS = {"encoder": ("fused", "fused-any-mask", "standard"), "decoder": ("fused", "standard")}
#: What is computed at once unless told otherwise: rows or images, and sequences.
MAX_BATCH_SIZES = {"encoder": 64, "decoder": 8}


def export(options: ExportOptions, progress: Progress = lambda stage: None) -> ExportReport:
    """Turns a checkpoint into an entry of a model repository.

    Raises the errors of errors.py, each with the stage that failed and those that were done; ParityError when the
    exported model is not the model that was trained.
    """
    stages = Stages(progress)
    release = stages.run("check the options", _check, options)

    # heavy imports wait until cheap mistakes have been found
    from .adapter import find_base_and_adapter
    from .baseline import reader_of
    from .checkpoint import load_checkpoint, without_weights
    from .graph.files import store
    from .graph.passes import clean
    from .graph.precision import weight_bytes, with_precision
    from .graph.release import fit, opset_for, require_release
    from .kinds import KINDS
    from .lora import merge
    from .parity import require_parity
    from .repository.draft import Draft
    from .repository.publish import publish
    from .source import find_source

    with tempfile.TemporaryDirectory(prefix="hf2triton-") as workspace:
        base, adapter = stages.run("find the adapter", find_base_and_adapter, options)
        source = stages.run("find the source", find_source, base, options.revision, options.allow_pickle)
        checkpoint = stages.run("load the checkpoint", load_checkpoint, source, options.task, adapter)
        options = stages.run("choose what the task needs", _settle, options, checkpoint.task)
        if adapter is not None:
            checkpoint = stages.run("merge the adapter", merge, checkpoint, adapter)
        asked = []
        for part in checkpoint.task.parts:
            run, kind = stages.of(part.suffix), KINDS[part.kind]
            baseline = run("ask PyTorch", kind.record_baseline, checkpoint, part, options.precision)
            graph = run("export the graph", kind.export_graph, checkpoint, part, options.attention, opset_for(release))
            graph = run("clean the graph", clean, graph)
            graph = run("fit it to the release", fit, graph, release)
            fp32_bytes = weight_bytes(graph.model)
            graph = run(f"convert to {options.precision}", with_precision, graph, options.precision)
            graph = run("check what the release has", require_release, graph, release)
            stored = run("write the graph", store, graph, fp32_bytes, Path(workspace, part.suffix or "graph"))
            asked.append((part, baseline, stored))
        checkpoint = without_weights(checkpoint)  # PyTorch is needed no more
        drafts = []
        for part, baseline, stored in asked:
            run, kind = stages.of(part.suffix), KINDS[part.kind]
            reader = reader_of(checkpoint, part)
            parity = run("measure parity", kind.measure_parity, stored, baseline, reader)
            run("require parity", require_parity, parity)
            price = None
            if kind.measure_call_price is not None:
                threads = 1 if options.runner == "inprocess" else 0  # as the runner mostly calls it
                price = run("measure the price of a call", kind.measure_call_price, stored, baseline, reader, threads)
            drafts.append(Draft(options, checkpoint, part, stored, parity, baseline, price))
        entry = None if options.dry_run else stages.run("publish", publish, drafts)
    parity_of = {draft.name: draft.parity for draft in drafts}
    return ExportReport(options, checkpoint.task.name, checkpoint.family.name, parity_of, entry, stages.seconds)


class Stages:
    """Runs stages one after another, times them, and says in every error which one failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    def of(self, suffix: str) -> Callable[..., Any]:
        """`run` for one of several fronts: the stages are named after it too."""
        return lambda name, *rest: self.run(f"{suffix.strip('_')}: {name}" if suffix else name, *rest)

    def run(self, name: str, function: Callable[..., Result], *arguments: Any) -> Result:
        self._progress(name)
        began = time.perf_counter()
        try:
            result = function(*arguments)
        except Hf2TritonError as error:
            error.stage, error.done = name, tuple(self.seconds)
            raise
        except ModuleNotFoundError:  # the command line tells which extra brings it
            raise
        except Exception as error:
            wrapped = ExportError(f"{type(error).__name__}: {error}")
            wrapped.stage, wrapped.done = name, tuple(self.seconds)
            raise wrapped from error
        self.seconds[name] = time.perf_counter() - began
        return result


def _check(options: ExportOptions) -> Release | None:
    """Finds cheap mistakes first; gives the release's row."""
    from .graph.release import find_release
    from .repository.publish import check_repository

    check_name(options.name)
    if options.max_batch_size is not None and options.max_batch_size < 1:
        raise UsageError(f"the largest batch must be 1 or more, not {options.max_batch_size}")
    if options.task is not None:
        _settle(options, find_task(options.task))
    release = find_release(options.release)
    check_repository(options.repository)
    return release


def _settle(options: ExportOptions, task: Task) -> ExportOptions:
    """The options with what was left open, as the task wants it. Raises UsageError for what it cannot have."""
    kind = task.parts[0].kind
    runners, precisions = RUNNERS[kind][options.device], PRECISIONS[kind][options.device]
    with_device = f"{task.name} with --device {options.device}"
    runner = options.runner or runners[0]
    if runner not in runners:
        raise UsageError(f"{with_device} runs with --runner {' or '.join(runners)}, not {runner}")
    if options.precision not in precisions:
        raise UsageError(f"{with_device} is exported in {', '.join(precisions)}, not {options.precision}")
    if options.attention not in ATTENTIONS[kind]:
        raise UsageError(
            f"{task.name} is exported with {', '.join(ATTENTIONS[kind])} attention, not {options.attention}"
        )
    return replace(options, runner=runner, max_batch_size=options.max_batch_size or MAX_BATCH_SIZES[kind])
