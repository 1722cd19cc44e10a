"""Makes sessions of onnxruntime, on a CPU and on a GPU."""

from __future__ import annotations

import os
from typing import Any

#: device -> onnxruntime's provider for it
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: device -> further options of its provider
#: (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options). The arena takes no more
#: than it needs, because a decoder's cache takes the rest. fp32 is computed in fp32, not in TF32, whose mantissa is only as long
#: as fp16's.
PROVIDER_OPTIONS = {"cpu": {}, "cuda": {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}}

#: Entries of a session's config that keep sums of int8 products from saturating on x86 without VNNI. Elsewhere they do nothing.
NO_SATURATION = {"session.x64quantprecision": "1"}


def session_options(threads: int) -> Any:
    """Options with `threads` threads per call; 0: as many as onnxruntime chooses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads that spin between calls would take cores from tokenizing, sampling and Triton itself
    options.add_session_config_entry("session.force_spinning_stop", "1")
    no_saturation(options)
    options.log_severity_level = 3
    return options


def no_saturation(options: Any) -> None:
    for key, value in NO_SATURATION.items():
        options.add_session_config_entry(key, value)


def providers(device: str, device_id: int = 0) -> list[Any]:
    """The providers that run a graph: the device's, and the CPU for what the device cannot run. Raises RuntimeError if this
    onnxruntime lacks the device's provider."""
    import onnxruntime

    if device not in PROVIDERS:
        raise RuntimeError(f"there is no device {device}; the devices are {', '.join(PROVIDERS)}")
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this onnxruntime has no {provider}, which device {device} needs; install onnxruntime-gpu")
    if device == "cpu":
        return [provider]
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21: CUDA's libraries as pip installs them, or else the system's
        onnxruntime.preload_dlls()
    return [(provider, {"device_id": device_id, **PROVIDER_OPTIONS[device]}), PROVIDERS["cpu"]]


def open_session(graph: str | bytes, device: str, device_id: int, threads: int, options: Any = None) -> Any:
    """Opens a session on the device. `graph`: its path or its content. `threads` 0: one for each core this process may use.
    `options`: these instead of `session_options`. Raises RuntimeError if it cannot run there."""
    import onnxruntime

    options = options or session_options(threads or len(os.sched_getaffinity(0)))
    session = onnxruntime.InferenceSession(graph, options, providers=providers(device, device_id))
    if session.get_providers()[0] != PROVIDERS[device]:
        raise RuntimeError(
            f"onnxruntime could not start {PROVIDERS[device]} and fell back to {session.get_providers()[0]}"
        )
    return session
