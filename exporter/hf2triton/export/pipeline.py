"""The stages of an export, in order. Start reading here.

    source ─look→ files ─load→ checkpoint (─merge an adapter→ checkpoint)
    for each frontend of its task (most have one):
        checkpoint ─baseline→ PyTorch's answers
        checkpoint ─export→ graph ─clean, fit→ graph, with its weights on disk
        graph ─calibrate→ ranges ─plan→ precision plan ─store→ file ─parity→ report (─search→ plan, then again)
    reports, files ─publish→ entry

Each stage is one function in one module; it takes frozen dataclasses and returns one (see core/types.py). Nothing is
written into the repository until parity has passed, and a failure leaves the repository unchanged.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint.loading import load
from ..checkpoint.sample_inputs import check_calibration
from ..core.layout import check_name
from ..core.options import ExportOptions, ResolvedOptions
from ..core.precision_plan import read_plan
from ..core.stages import Progress, Stages
from ..core.types import ExportReport
from ..engines import ENGINES
from ..engines.common.resolve import resolve, tolerances_of
from ..errors import UsageError
from ..tasks import find_task

if TYPE_CHECKING:
    from hf2triton_client.evaluation.baseline import Baseline

    from ..core.precision_plan import PrecisionPlan
    from ..core.types import Checkpoint, Graph, ParityReport, StoredGraph
    from ..graph.passes.release import Release
    from ..parity.precision_search import Ranges
    from ..repository.staged_entry import StagedEntry
    from ..tasks.base import Endpoint


def export(options: ExportOptions, progress: Progress = lambda stage: None) -> ExportReport:
    """Turns a checkpoint into an entry of a model repository. `progress` is called with each stage's name when it begins.

    Raises ParityError if the exported model does not give PyTorch's answers, and the other subclasses of Hf2TritonError, each
    with the failed stage and the completed ones. The repository then is as it was.
    """
    stages = Stages(progress)
    release = stages.run("check the options", _check, options)
    explicit = options.max_batch_size is not None
    checkpoint, options = load(stages, options)

    from ..checkpoint.loader import without_weights
    from ..graph.passes.cleaning import clean
    from ..graph.passes.engine_name import name_by_content
    from ..graph.passes.release import fit, opset_for
    from ..graph.storage import unload
    from ..parity.graph_kinds import GRAPH_KINDS
    from ..repository.add_entry import publish

    with tempfile.TemporaryDirectory(prefix="hf2triton-") as workspace:
        asked = []
        for endpoint in checkpoint.task.endpoints:
            run, kind, folder = (
                stages.of(endpoint.suffix),
                GRAPH_KINDS[endpoint.kind],
                Path(workspace, endpoint.suffix or "graph"),
            )
            baseline = run("ask PyTorch", kind.record_baseline, checkpoint, endpoint, options.precision)
            baseline = replace(baseline, tolerances=tolerances_of(endpoint, baseline.tolerances, options.tolerances))
            graph = run(
                "export the graph", kind.export_graph, checkpoint, endpoint, options.attention, opset_for(release)
            )
            graph = run("clean the graph", clean, graph)
            graph = run("fit it to the release", fit, graph, release, options.precision)
            if ENGINES[options.device].named_by_content:
                graph = run("name it for its engines", name_by_content, graph)
            graph = run("put its weights aside", unload, graph, folder)
            asked.append((endpoint, baseline, graph, folder))
        checkpoint = without_weights(checkpoint)  # PyTorch is no longer needed
        proved = [_prove(stages, options, explicit, release, checkpoint, *one) for one in asked]
        staged_entries = [staged for staged, _ in proved]
        entry = None if options.dry_run else stages.run("publish", publish, staged_entries)
    return ExportReport(
        options,
        checkpoint.task.name,
        checkpoint.family.name,
        parity={staged.name: staged.parity for staged in staged_entries},
        plans={staged.name: staged.stored.plan for staged in staged_entries},
        ranges={staged.name: ranges for staged, ranges in proved},
        entry=entry,
        seconds=stages.seconds,
        memory={staged.name: staged.memory for staged in staged_entries if staged.memory is not None},
    )


def _prove(
    stages: Stages,
    options: ResolvedOptions,
    explicit: bool,
    release: Release | None,
    checkpoint: Checkpoint,
    endpoint: Endpoint,
    baseline: Baseline,
    graph: Graph,
    folder: Path,
) -> tuple[StagedEntry, Ranges]:
    """Converts one frontend's graph to the requested precision and proves that it gives PyTorch's answers. Returns the staged
    entry and the ranges of the graph's nodes. `explicit`: the user set the largest batch.

    Raises ParityError.
    """
    from ..checkpoint.preprocessing import longest_row, preprocessor_of
    from ..engines.common.devices import runs_on_gpu
    from ..engines.common.memory import estimate_memory
    from ..graph.passes.release import require_release
    from ..graph.storage import store
    from ..parity.advice import ParityRequest
    from ..parity.calibration_inputs import calibration_of
    from ..parity.checks import ParityInputs, report_of, require_parity
    from ..parity.graph_kinds import GRAPH_KINDS
    from ..parity.precision_search import calibrate, can_search, plan_precision, prepare, search_plan
    from ..repository.encoder_frontend import run_warmup
    from ..repository.staged_entry import StagedEntry
    from .genai_config import genai_files

    run, kind, precision = stages.of(endpoint.suffix), GRAPH_KINDS[endpoint.kind], options.precision
    engine = ENGINES[options.device]
    preprocessor = preprocessor_of(checkpoint, endpoint)
    calibration = run(
        "read the calibration inputs", calibration_of, checkpoint, endpoint, graph, baseline, options.calibration
    )
    gpu = engine.gpu and runs_on_gpu()  # the machine may have no GPU
    inputs = ParityInputs(baseline, preprocessor, calibration, gpu, checkpoint.id2label)

    def prove(plan: PrecisionPlan, again: str = "") -> tuple[StoredGraph, ParityReport]:
        stored = run(f"convert to {precision}{again}", store, graph, plan, folder, options.largest_file)
        run(f"check what the release has{again}", require_release, stored.graph, release)
        return stored, run(f"measure parity{again}", report_of, stored, kind.checks_of(stored, inputs))

    graph = run("prepare it for its precision", prepare, graph, options, calibration, folder)
    ranges = run("calibrate", calibrate, graph, options, calibration, folder)
    plan = run("plan the precision", plan_precision, graph, options, calibration, ranges)
    stored, parity = prove(plan)
    if not parity.passed and can_search(plan):
        plan = run(
            "search for what must stay fp32",
            search_plan,
            graph,
            plan,
            ranges,
            lambda stored: kind.checks_of(stored, inputs),
            folder,
        )
        stored, parity = prove(plan, " again")
    asked = ParityRequest(options, endpoint.modality, kind.tolerances(checkpoint, endpoint, precision))
    run("require parity", require_parity, parity, asked)
    call_overhead = memory = None
    if engine.gpu:
        longest = longest_row(checkpoint, endpoint)
        memory = run("estimate the memory", estimate_memory, stored, options, longest, explicit)
    if kind.measure_call_overhead is not None:
        call_overhead = None if gpu and engine.proved_on == engine.name else engine.call_overhead
    if kind.measure_call_overhead is not None and call_overhead is None:
        threads = 1 if options.runner == "inprocess" else 0  # as the runner usually calls it
        call_overhead = run(
            "measure the call overhead", kind.measure_call_overhead, stored, baseline, preprocessor, threads, gpu
        )
    more = genai_files(checkpoint, stored) if endpoint.kind == "decoder" else {}
    staged = StagedEntry(options, checkpoint, endpoint, stored, parity, baseline, call_overhead, memory, more)
    run("run the warm-up calls", run_warmup, staged, gpu)
    return staged, ranges


def _check(options: ExportOptions) -> Release | None:
    """Makes the cheap checks first; returns the release's row."""
    from ..graph.passes.release import find_release
    from ..repository.add_entry import check_repository

    check_name(options.name)
    if options.max_batch_size is not None and options.max_batch_size < 1:
        raise UsageError(f"the largest batch must be 1 or more, not {options.max_batch_size}")
    if options.task is not None:
        task = find_task(options.task)
        resolve(options, task)
        check_calibration(options.calibration, task)
    release = find_release(options.release)
    if options.precision_plan is not None:
        read_plan(options.precision_plan, options.precision)
    check_repository(options.repository)
    return release
