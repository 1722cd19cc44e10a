"""What can be asked of the way a model is served: GPUs, queues, priorities, caching. Tables, and what was left open settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ..tasks.base import Task
from .options import ExportOptions

#: Devices that have memory of their own.
GPUS = ("cuda", "tensorrt")
#: device -> µs that a request may wait for others. Worth it where a call costs as much as hundreds of tokens; less than a call.
QUEUE_DELAYS = {"cpu": 0, "cuda": 500, "tensorrt": 500}
#: kind of graph -> what may wait: requests, or sequences for a slot. Later ones are refused with UNAVAILABLE. 0: any number, as a
#: bound costs Triton the batch that it prepares ahead, see engines/device_config.py.
MAX_QUEUES = {"encoder": 0, "decoder": 256}
#: Triton's own limit is 2^32 - 1; more than a few help nobody.
MAX_PRIORITIES = 16
#: The memory of a GPU, unless told: that of the smallest ones that data centres use for inference (T4, A2, RTX 4000).
GPU_MEMORY = 16 * 1000**3
#: The first release whose onnxruntime backend surely knows the CUDA provider's options as an accelerator's (since June of 2024,
#: https://github.com/triton-inference-server/onnxruntime_backend/pull/256) and TensorRT's shape profiles (24.03 refuses them:
#: https://github.com/triton-inference-server/server/issues/7156).
FIRST_RELEASE = "24.08"
#: Readers whose frontends give the graph's outputs and counts, which everyone asks for together.
_WHOLE_ANSWERS = ("text", "sentence", "image")


def resolve_serving(options: ExportOptions, task: Task) -> dict[str, Any]:
    """The options of serving that were left open, as the task and the device want them. Raises UsageError."""
    kind, on_gpu = task.endpoints[0].kind, options.device in GPUS
    if not on_gpu and (given := [name for name in ("gpus", "gpu_memory") if getattr(options, name) is not None]):
        raise UsageError(f"{_flag(given[0])} is for --device {' or '.join(GPUS)}, not {options.device}")
    if options.device == "tensorrt" and options.release is not None and options.release < FIRST_RELEASE:
        raise UsageError(
            f"--device tensorrt needs Triton {FIRST_RELEASE} or later, not {options.release}: the backend of older ones does not"
            " know shape profiles"
        )
    if options.gpus is not None and (len(set(options.gpus)) < len(options.gpus) or min(options.gpus, default=-1) < 0):
        raise UsageError(f"--gpus must be different numbers from 0 on, such as 0,1, not {_listed(options.gpus)}")
    if kind == "decoder":
        _check_decoder(options, task)
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"{_flag(name)} must be {least:,} to {most:,}, not {value:,}")
    delay = 0 if kind == "decoder" else QUEUE_DELAYS[options.device]
    return {
        "queue_delay": delay if options.queue_delay is None else options.queue_delay,
        "max_queue": MAX_QUEUES[kind] if options.max_queue is None else options.max_queue,
        "gpu_memory": (options.gpu_memory or GPU_MEMORY) if on_gpu else None,
        "response_cache": _response_cache(options, task),
    }


def _check_decoder(options: ExportOptions, task: Task) -> None:
    """Its engine forms the batches, so that Triton's queue has nothing to do."""
    for name, given in (
        ("queue_delay", options.queue_delay),
        ("priority_levels", options.priority_levels),
        ("response_cache", options.response_cache),
    ):
        if given:
            why = "a text may be sampled" if name == "response_cache" else "its engine takes texts as they come"
            raise UsageError(f"{task.name} has no {_flag(name)}: {why}")
    if options.gpus is not None and len(options.gpus) > 1:
        raise UsageError(
            f"{task.name} runs on one GPU, where its cache is, not on {_listed(options.gpus)}: export it under a name for each"
        )


def _response_cache(options: ExportOptions, task: Task) -> bool:
    """Whether Triton may answer from its response cache: by default on a GPU, where the answer is the same for all who ask.

    The cache's key is made of the inputs alone (TritonCache::Hash,
    https://github.com/triton-inference-server/core/blob/main/src/cache_manager.cc): whoever asks for other outputs than the one
    before would get that one's. So a frontend with outputs that only some ask for has no cache.
    """
    whole = not task.generates and not task.joins_words
    whole = whole and all(
        len(endpoint.outputs) == 1 and endpoint.reader in _WHOLE_ANSWERS for endpoint in task.endpoints
    )
    if options.response_cache and not whole:
        raise UsageError(
            f"{task.name} has no --response-cache: callers ask for different outputs, which Triton's cache does not tell apart"
        )
    return whole and options.device in GPUS if options.response_cache is None else options.response_cache


#: option -> the least and the most.
_RANGES: Mapping[str, tuple[int, int]] = {
    "queue_delay": (0, 1_000_000),
    "priority_levels": (0, MAX_PRIORITIES),
    "max_queue": (0, 1 << 20),
}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(gpus: tuple[int, ...]) -> str:
    return ",".join(map(str, gpus)) or "none"
