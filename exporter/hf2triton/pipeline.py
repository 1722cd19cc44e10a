"""The stages of an export, in order. Start reading here.

    source ─look→ files ─load→ checkpoint (─merge an adapter→ checkpoint)
    for each front of its task (most have one):
        checkpoint ─baseline→ PyTorch's answers
        checkpoint ─export→ graph ─clean, fit→ graph, whose weights go to the disk
        graph ─calibrate→ ranges ─plan→ precision plan ─store→ file ─parity→ report (─search→ plan, and once more)
    reports, files ─publish→ entry

Each stage is one function in one module; it takes frozen dataclasses and returns one (see artifacts.py). Nothing is
written into the repository before parity has passed, and a failure leaves it as it was.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .artifacts import ExportOptions, ExportReport
from .errors import ExportError, Hf2TritonError, UsageError
from .options import settle, tolerances_of
from .precision_plan import read_plan
from .repository.layout import check_name
from .serving_options import GPUS
from .tasks import find_task

if TYPE_CHECKING:
    from hf2triton_client.baseline import Baseline

    from .artifacts import Checkpoint, Graph, ParityReport, StoredGraph
    from .graph.release import Release
    from .precision_plan import PrecisionPlan
    from .precision_search import Ranges
    from .repository.draft import Draft
    from .tasks import Part

Result = TypeVar("Result")
#: Called when a stage begins, with its description.
Progress = Callable[[str], None]


def export(options: ExportOptions, progress: Progress = lambda stage: None) -> ExportReport:
    """Turns a checkpoint into an entry of a model repository.

    Raises the errors of errors.py, each with the stage that failed and those that were done; ParityError when the
    exported model is not the model that was trained.
    """
    stages = Stages(progress)
    release = stages.run("check the options", _check, options)
    explicit = options.max_batch_size is not None
    checkpoint, options = load(stages, options)

    from .checkpoint import without_weights
    from .graph.engine_name import name_by_content
    from .graph.files import unload
    from .graph.passes import clean
    from .graph.release import fit, opset_for
    from .kinds import KINDS
    from .repository.publish import publish

    with tempfile.TemporaryDirectory(prefix="hf2triton-") as workspace:
        asked = []
        for part in checkpoint.task.parts:
            run, kind, folder = stages.of(part.suffix), KINDS[part.kind], Path(workspace, part.suffix or "graph")
            baseline = run("ask PyTorch", kind.record_baseline, checkpoint, part, options.precision)
            baseline = replace(baseline, tolerances=tolerances_of(part, baseline.tolerances, options.tolerances))
            graph = run("export the graph", kind.export_graph, checkpoint, part, options.attention, opset_for(release))
            graph = run("clean the graph", clean, graph)
            graph = run("fit it to the release", fit, graph, release, options.precision)
            if options.device == "tensorrt":
                graph = run("name it for its engines", name_by_content, graph)
            graph = run("put its weights aside", unload, graph, folder)
            asked.append((part, baseline, graph, folder))
        checkpoint = without_weights(checkpoint)  # PyTorch is needed no more
        proved = [_prove(stages, options, explicit, release, checkpoint, *one) for one in asked]
        drafts = [draft for draft, _ in proved]
        entry = None if options.dry_run else stages.run("publish", publish, drafts)
    return ExportReport(
        options,
        checkpoint.task.name,
        checkpoint.family.name,
        parity={draft.name: draft.parity for draft in drafts},
        plans={draft.name: draft.stored.plan for draft in drafts},
        ranges={draft.name: ranges for draft, ranges in proved},
        entry=entry,
        seconds=stages.seconds,
        memory={draft.name: draft.memory for draft in drafts if draft.memory is not None},
    )


def load(stages: Stages, options: ExportOptions) -> tuple[Checkpoint, ExportOptions]:
    """The checkpoint that the options name, with its adapter merged, and the options as its task wants them."""
    from .precheck import look_at_files

    found = stages.run("look at the files", look_at_files, options)

    # heavy imports wait until cheap mistakes have been found
    from .adapter import require_sound
    from .checkpoint import load_checkpoint, require_known_tokens
    from .lora import merge
    from .source import with_digests

    source, adapter = stages.run("take their digests", with_digests, found.source), found.adapter
    if adapter is not None:
        stages.run("check the adapter", require_sound, adapter)
    checkpoint = stages.run("load the checkpoint", load_checkpoint, source, found.task.name, adapter, options.labels)
    options = stages.run("choose what the task needs", settle, options, checkpoint.task)
    if adapter is not None:
        checkpoint = stages.run("merge the adapter", merge, checkpoint, adapter)
    stages.run("check the tokens", require_known_tokens, checkpoint)
    return checkpoint, options


def _prove(
    stages: Stages,
    options: ExportOptions,
    explicit: bool,
    release: Release | None,
    checkpoint: Checkpoint,
    part: Part,
    baseline: Baseline,
    graph: Graph,
    folder: Path,
) -> tuple[Draft, Ranges]:
    """One front: its graph in the precision asked for, proved to give PyTorch's answers; and its nodes' ranges. `explicit`: the
    largest batch was asked for.

    Raises ParityError.
    """
    from .baseline import reader_of
    from .calibration_inputs import calibration_of
    from .call_price import DEFAULTS
    from .devices import runs_on_gpu
    from .graph.files import store
    from .graph.release import require_release
    from .kinds import KINDS
    from .parity import ParityInputs, report_of, require_parity
    from .parity_advice import Request
    from .precision_search import calibrate, can_search, plan_precision, prepare, search_plan
    from .repository.draft import Draft
    from .repository.encoder_front import run_warmup
    from .repository.memory import estimate_memory

    run, kind, precision = stages.of(part.suffix), KINDS[part.kind], options.precision
    reader = reader_of(checkpoint, part)
    calibration = run(
        "read the calibration inputs", calibration_of, checkpoint, part, graph, baseline, options.calibration
    )
    gpu = options.device in GPUS and runs_on_gpu()  # which need not be here
    inputs = ParityInputs(baseline, reader, calibration, gpu, checkpoint.id2label)

    def prove(plan: PrecisionPlan, again: str = "") -> tuple[StoredGraph, ParityReport]:
        stored = run(f"convert to {precision}{again}", store, graph, plan, folder, options.largest_file)
        run(f"check what the release has{again}", require_release, stored.graph, release)
        return stored, run(f"measure parity{again}", report_of, stored, kind.checks_of(stored, inputs))

    graph = run("prepare it for its precision", prepare, graph, options, calibration, folder)
    ranges = run("calibrate", calibrate, graph, options, calibration, folder)
    plan = run("plan the precision", plan_precision, graph, options, calibration, ranges)
    stored, parity = prove(plan)
    if not parity.passed and can_search(plan):
        checks_of = partial(kind.checks_of, asked=inputs)
        plan = run("search for what must stay fp32", search_plan, graph, plan, ranges, checks_of, folder)
        stored, parity = prove(plan, " again")
    asked = Request(options, part.modality, kind.tolerances(checkpoint, part, precision))
    run("require parity", require_parity, parity, asked)
    price = memory = None
    if options.device in GPUS:
        max_length = checkpoint.max_length if part.modality == "text" else None
        memory = run("estimate the memory", estimate_memory, stored, options, max_length, explicit)
    if kind.measure_call_price is not None:
        price = None if options.device == "cuda" and gpu else DEFAULTS.get(options.device)
    if kind.measure_call_price is not None and price is None:
        threads = 1 if options.runner == "inprocess" else 0  # as the runner mostly calls it
        price = run("measure the price of a call", kind.measure_call_price, stored, baseline, reader, threads, gpu)
    draft = Draft(options, checkpoint, part, stored, parity, baseline, price, memory)
    run("run the warm-up calls", run_warmup, draft, gpu)
    return draft, ranges


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
        settle(options, find_task(options.task))
    release = find_release(options.release)
    if options.precision_plan is not None:
        read_plan(options.precision_plan, options.precision)
    check_repository(options.repository)
    return release
