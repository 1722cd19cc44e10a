"""Resolves the serving options that the user left open: GPUs, queues, priorities, caching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.options import ExportOptions
from ...errors import UsageError
from ...tasks.base import Task
from .. import ENGINES
from ..base import Engine

#: Kind of graph -> how many requests (encoder) or sequences for a slot (decoder) may wait. Later ones are refused with
#: UNAVAILABLE. 0: any number, because with a bound Triton does not prepare a batch ahead, see model_config.py.
MAX_QUEUES = {"encoder": 0, "decoder": 256}
#: Triton's limit is 2^32 - 1; more than a few priorities help nobody.
MAX_PRIORITIES = 16
#: Default memory of a GPU: that of the smallest GPUs that data centres use for inference (T4, A2, RTX 4000).
GPU_MEMORY = 16 * 1000**3
#: Readers whose frontends return the graph's outputs and counts, which all callers ask for together.
_WHOLE_ANSWERS = ("text", "pair", "sentence", "image")


def resolve_serving(options: ExportOptions, engine: Engine, task: Task) -> dict[str, Any]:
    """The serving options that were left open, resolved for the task and the device. Raises UsageError."""
    kind = task.endpoints[0].kind
    if not engine.gpu and (given := [name for name in ("gpus", "gpu_memory") if getattr(options, name) is not None]):
        gpus = [other.name for other in ENGINES.values() if other.gpu]
        raise UsageError(f"{_flag(given[0])} is for --device {' or '.join(gpus)}, not {options.device}")
    if options.release is not None and options.release < engine.first_release:
        raise UsageError(
            f"--device {engine.name} needs Triton {engine.first_release} or later, not {options.release}: {engine.why_release}"
        )
    if options.gpus is not None and (len(set(options.gpus)) < len(options.gpus) or min(options.gpus, default=-1) < 0):
        raise UsageError(f"--gpus must be different numbers from 0 on, such as 0,1, not {_listed(options.gpus)}")
    if kind == "decoder":
        _check_decoder(options, task)
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"{_flag(name)} must be {least:,} to {most:,}, not {value:,}")
    delay = 0 if kind == "decoder" else engine.queue_delay
    return {
        "queue_delay": delay if options.queue_delay is None else options.queue_delay,
        "max_queue": MAX_QUEUES[kind] if options.max_queue is None else options.max_queue,
        "gpu_memory": (options.gpu_memory or GPU_MEMORY) if engine.gpu else None,
        "response_cache": _response_cache(options, engine, task),
    }


def _check_decoder(options: ExportOptions, task: Task) -> None:
    """Raises UsageError for options of Triton's queue and cache, and for several GPUs. A decoder's scheduler forms the batches,
    not Triton's queue."""
    for name, given in (
        ("queue_delay", options.queue_delay),
        ("priority_levels", options.priority_levels),
        ("response_cache", options.response_cache),
    ):
        if given:
            why = "a text may be sampled" if name == "response_cache" else "its scheduler takes texts as they come"
            raise UsageError(f"{task.name} has no {_flag(name)}: {why}")
    if options.gpus is not None and len(options.gpus) > 1:
        raise UsageError(
            f"{task.name} runs on one GPU, where its cache is, not on {_listed(options.gpus)}: export it under a name for each"
        )


def _response_cache(options: ExportOptions, engine: Engine, task: Task) -> bool:
    """Whether Triton may answer from its response cache: by default on a GPU, if the answer is the same for all callers.

    The cache's key depends only on the inputs (TritonCache::Hash,
    https://github.com/triton-inference-server/core/blob/main/src/cache_manager.cc): a caller that asks for other outputs than the
    previous caller would get the previous caller's outputs. Frontends with outputs that only some callers ask for have no cache.
    """
    whole = not task.generates and not task.joins_words
    whole = whole and all(
        sum(options.token_embeddings or not output.on_demand for output in endpoint.outputs) == 1
        and endpoint.preprocessor in _WHOLE_ANSWERS
        for endpoint in task.endpoints
    )
    if options.response_cache and not whole:
        raise UsageError(
            f"{task.name} has no --response-cache: callers ask for different outputs, which Triton's cache does not tell apart"
        )
    return whole and engine.gpu if options.response_cache is None else options.response_cache


#: Option -> its least and greatest value.
_RANGES: Mapping[str, tuple[int, int]] = {
    "queue_delay": (0, 1_000_000),
    "priority_levels": (0, MAX_PRIORITIES),
    "max_queue": (0, 1 << 20),
}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(gpus: tuple[int, ...]) -> str:
    return ",".join(map(str, gpus)) or "none"
