"""Resolves the options that the user left open, by the task and the engine, and refuses options that do not fit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from math import isfinite
from typing import Any

from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.questions import ANSWERS

from ...core.digests import digest_of_json, digest_of_path
from ...core.options import ExportOptions, ResolvedOptions, recorded_names, values_of
from ...core.precision_plan import read_plan
from ...errors import UnknownName, UsageError
from ...tasks.base import Endpoint, Task
from .. import ENGINES
from .resolve_serving import resolve_serving

#: The same as in graph/tracing/attention.py and graph/tracing/decoder_attention.py, which need PyTorch.
ATTENTIONS = {"encoder": ("fused", "fused-any-mask", "standard"), "decoder": ("fused", "standard")}
#: Default number of rows or images (encoder) and of sequences (decoder) that are computed at once.
MAX_BATCH_SIZES = {"encoder": 64, "decoder": 8}
#: The maximum number of instances. A decoder's scheduler forms its batches: a second instance would hold a second cache and halve
#: the batches.
MAX_INSTANCES = {"encoder": 128, "decoder": 1}


def resolve(options: ExportOptions, task: Task) -> ResolvedOptions:
    """The options with everything resolved for the task. Raises UsageError for options that do not fit it."""
    kind = task.endpoints[0].kind
    devices = [engine.name for engine in ENGINES.values() if kind in engine.runners]
    if options.device not in devices:
        raise UsageError(f"{task.name} is served with --device {' or '.join(devices)}, not {options.device}")
    engine = ENGINES[options.device]
    runners, precisions = engine.runners[kind], engine.precisions[kind]
    attentions = engine.attentions or ATTENTIONS[kind]
    with_device = f"{task.name} with --device {options.device}"
    runner, attention = options.runner or runners[0], options.attention or attentions[0]
    if runner not in runners:
        raise UsageError(f"{with_device} runs with --runner {' or '.join(runners)}, not {runner}")
    if options.precision not in precisions:
        raise UsageError(f"{with_device} is exported in {', '.join(precisions)}, not {options.precision}")
    if attention not in ATTENTIONS[kind]:
        raise UsageError(f"{task.name} is exported with {', '.join(ATTENTIONS[kind])} attention, not {attention}")
    if attention not in attentions:
        raise UsageError(
            f"{with_device} is exported with {', '.join(attentions)} attention, not {attention}: it has no such op"
        )
    if not 1 <= options.instances <= MAX_INSTANCES[kind]:
        least = "1 instance alone, and batches in its slots" if kind == "decoder" else f"1 to {MAX_INSTANCES[kind]}"
        raise UsageError(f"{task.name} is served with {least}, not with {options.instances} instances")
    if options.token_embeddings and not any(out.on_demand for end in task.endpoints for out in end.outputs):
        raise UsageError(f"--token-embeddings is for sentence-similarity; {task.name} has no embeddings of tokens")
    _check_tolerances(options.tolerances, task)
    chosen = {
        "runner": runner,
        "attention": attention,
        "max_batch_size": options.max_batch_size or MAX_BATCH_SIZES[kind],
        **resolve_serving(options, engine, task),
    }
    return ResolvedOptions(**{**values_of(options), **chosen})


def tolerances_of(
    endpoint: Endpoint, recorded: Mapping[str, Tolerance], given: Mapping[str, Mapping[str, float | None]]
) -> dict[str, Tolerance]:
    """The tolerances of a baseline, with those `given` in their place. A decoder's `token_ids`, which are not an output of the
    graph, use the tolerances of its logits."""
    outputs = [*(output.name for output in endpoint.outputs), ANSWERS]
    own: dict[str, Any] = {name: given.get(name if name in outputs else outputs[0], {}) for name in recorded}
    return {name: replace(tolerance, **own[name]) for name, tolerance in recorded.items()}


def recorded_options(options: ResolvedOptions) -> dict[str, Any]:
    """The options that manifests record: all that change what is exported. Files are recorded as digests of their content."""
    values = asdict(options)
    given = {name: values[name] for name in recorded_names()}
    for name in ("labels", "gpus"):
        given[name] = None if given[name] is None else list(given[name])
    calibration, plan = options.calibration, options.precision_plan
    given["calibration"] = None if calibration is None else digest_of_path(calibration)
    # the plan may be part of a manifest, in which other values change with each export
    given["precision_plan"] = None if plan is None else digest_of_json(read_plan(plan, options.precision).to_json())
    return given


def _check_tolerances(tolerances: Mapping[str, Mapping[str, float | None]], task: Task) -> None:
    """Raises UsageError for an output that the task does not have, for an unknown field, and for a bad value."""
    outputs = [*dict.fromkeys(output.name for endpoint in task.endpoints for output in endpoint.outputs), ANSWERS]
    # cosine and argmax may be None, which means that they are not checked
    known = {field.name: "None" in str(field.type) for field in fields(Tolerance)}
    for output, given in tolerances.items():
        if output not in outputs:
            raise UnknownName(f"tolerances: the output of {task.name}", output, outputs)
        for name, value in given.items():
            if name not in known:
                raise UnknownName(f"tolerances of {output}: the field", name, known)
            if value is None and known[name]:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value < 0:
                raise UsageError(f"tolerances of {output}: {name} must be a number of 0 or more, not {value!r}")
