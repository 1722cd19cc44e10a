"""The parts of a config.pbtxt that depend on the device: instances, batching, execution providers, shape profiles, warm-up.

Every key is one that the server or the container's onnxruntime backend reads; the backend refuses or, worse, ignores others.
backend_keys.py is the table of what it reads, with sources; a test holds every config against it, and `hf2triton lint` those that
were changed by hand. All else is in protobuf/model_config.proto of triton-inference-server/common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from ..core.layout import WARMUP, warmup_file
from ..core.memory import MAX_TOKENS, WORKSPACE_BYTES
from ..core.options import ExportOptions
from ..core.serving_options import FIRST_RELEASE, GPUS
from ..core.types import Graph, MemoryEstimate

#: device -> where the graph's instances run.
INSTANCES = {
    "cpu": pb.ModelInstanceGroup.KIND_CPU,
    **dict.fromkeys(GPUS, pb.ModelInstanceGroup.KIND_GPU),
}
#: Frontends for each instance of a graph on a GPU: one reads and answers texts while the graph works for the other.
FRONTENDS = 2
#: Where TensorRT's engines lie, in the container. Operators mount a folder there, or each start builds them anew, for minutes.
ENGINES = "/var/cache/hf2triton-tensorrt"
#: The shortest text that frontends send with tensor cores in mind, and what lengths are rounded to.
ROUND_TO = 8

DTYPES = {"INT64": pb.TYPE_INT64, "FLOAT": pb.TYPE_FP32}
#: Free axes -> their sizes.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Served:
    """What the settings of a graph's model depend on. `options`: settled, with the batch that is served. `max_length`: None for
    images. `memory`: None on a CPU."""

    options: ExportOptions
    graph: Graph
    max_length: int | None
    memory: MemoryEstimate | None

    @property
    def profile(self) -> tuple[Sizes, Sizes, Sizes]:
        """The smallest, the usual and the largest sizes that a TensorRT engine is built for. It is tuned for the usual ones: full
        calls of a quarter of the length, as most texts are. Callers' own tensors may be as short as one token."""
        rows = self.options.max_batch_size
        if self.max_length is None:
            return {"batch": 1}, {"batch": rows}, {"batch": rows}
        usual = min(self.max_length, max(ROUND_TO, self.max_length // 4 // ROUND_TO * ROUND_TO))
        return (
            {"batch": 1, "sequence": 1, "masks": 1},
            {"batch": rows, "sequence": usual, "masks": 1},
            {"batch": rows, "sequence": self.max_length, "masks": self.max_length},
        )

    @property
    def corners(self) -> list[Sizes]:
        """The calls at the limits: one row and the most rows, of the shortest and the greatest length, within what one call may
        hold. After them the arena has its size and every kernel was chosen."""
        rows, longest = self.options.max_batch_size, self.max_length
        if longest is None:
            sizes = [{"batch": batch} for batch in (1, rows)]
        else:
            tokens = rows * longest if self.options.device == "tensorrt" else MAX_TOKENS
            shortest, wide = min(ROUND_TO, longest), max(1, min(rows, tokens // longest))
            rows = max(1, min(rows, tokens // shortest))
            long = max(shortest, min(longest, tokens // rows))
            pairs = [(1, shortest), (1, longest), (rows, shortest), (rows, long), (wide, longest)]
            sizes = [{"batch": batch, "sequence": length, "masks": 1} for batch, length in pairs]
        return [one for index, one in enumerate(sizes) if one not in sizes[:index]]


@dataclass(frozen=True)
class Setting:
    """A key and what makes its value; None: it is left out. `first`: the first release whose backend reads it, "" for any."""

    key: str
    value: Callable[[Served], str | None]
    first: str = ""


def _constant(value: str) -> Callable[[Served], str]:
    return lambda served: value


def _on_images(value: str) -> Callable[[Served], str | None]:
    return lambda served: value if served.max_length is None else None


def _in(precision: str, value: str) -> Callable[[Served], str | None]:
    return lambda served: value if served.graph.precision == precision else None


def _shapes(which: int) -> Callable[[Served], str]:
    """One end of the profile as `input:1x128,…`
    (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html#explicit-shape-range-for-dynamic-shape-input)."""

    def value(served: Served) -> str:
        sizes = served.profile[which]
        return ",".join(
            f"{one.name}:{'x'.join(str(sizes.get(dim, dim)) for dim in one.dims)}" for one in served.graph.inputs
        )

    return value


#: Of the CUDA provider, in the config's own `parameters`: in an accelerator's they are overwritten.
PARAMETERS = (
    # 1 = HEURISTIC: batches have many sizes, and the default, EXHAUSTIVE, tries all algorithms for each. Only images convolve.
    Setting("cudnn_conv_algo_search", _on_images("1")),
    Setting("gpu_mem_limit", lambda served: str(served.memory.limit)),
    # 1 = kSameAsRequested: powers of two would take up to twice what the estimate says
    Setting("arena_extend_strategy", _constant("1")),
    Setting("do_copy_in_default_stream", _constant("1")),
)
#: Of the accelerator `cuda`: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options
CUDA = (
    # fp32 was proved in fp32; TF32, which is on by default, has fp16's mantissa
    Setting("use_tf32", _in("fp32", "0"), FIRST_RELEASE),
    # of images alone: without it, fp16 convolutions fall back on slow algorithms (https://github.com/microsoft/onnxruntime/issues/9162)
    Setting("cudnn_conv_use_max_workspace", _on_images("1"), FIRST_RELEASE),
    # onnxruntime joins residuals with the norms after them; the strict kernel gives up speed for exactness
    Setting("enable_skip_layer_norm_strict_mode", _in("fp16", "1"), FIRST_RELEASE),
)
#: Of the accelerator `tensorrt`; the names are the backend's, not always the provider's.
TENSORRT = (
    # `trt_fp16_enable` is refused. An fp16 graph needs it: without it TensorRT may not use the types that the graph has.
    Setting("precision_mode", lambda served: {"fp32": "FP32", "fp16": "FP16"}[served.graph.precision]),
    # the mean square of a LayerNormalization leaves fp16's range first
    Setting("trt_layer_norm_fp32_fallback", _in("fp16", "1")),
    Setting("max_workspace_size_bytes", _constant(str(WORKSPACE_BYTES))),
    Setting("trt_engine_cache_enable", _constant("1")),
    Setting("trt_engine_cache_path", _constant(ENGINES)),
    Setting("trt_timing_cache_enable", _constant("1")),
    Setting("trt_timing_cache_path", _constant(ENGINES)),
    Setting("trt_profile_min_shapes", _shapes(0)),
    Setting("trt_profile_opt_shapes", _shapes(1)),
    Setting("trt_profile_max_shapes", _shapes(2)),
)
#: device -> the accelerators, in the order in which they take nodes. What TensorRT leaves goes to CUDA.
ACCELERATORS: Mapping[str, Mapping[str, tuple[Setting, ...]]] = {
    "cuda": {"cuda": CUDA},
    "tensorrt": {"tensorrt": TENSORRT, "cuda": CUDA},
}


def graph_instances(options: ExportOptions) -> pb.ModelInstanceGroup:
    """Where the graph runs: `count` on each GPU; without `gpus` on all there are."""
    return pb.ModelInstanceGroup(count=options.instances, kind=INSTANCES[options.device], gpus=options.gpus or ())


def frontend_instances(options: ExportOptions) -> int:
    """Fronts before a graph that is another model, or which hold it themselves."""
    if options.runner == "inprocess":
        return options.instances
    return FRONTENDS * options.instances * len(options.gpus or (0,)) if options.device in GPUS else 1


def frontend_batching(options: ExportOptions) -> pb.ModelDynamicBatching:
    """The queue before a frontend, where requests of all lengths meet. Those who wait for others leave as soon as half a batch
    or a whole one is there."""
    batching = graph_batching(options)
    if options.queue_delay:
        batching.max_queue_delay_microseconds = options.queue_delay
    rows = options.max_batch_size
    if options.queue_delay:
        batching.preferred_batch_size.extend(sorted({max(1, rows // 2), rows}))
    if options.priority_levels:
        batching.priority_levels = options.priority_levels
        batching.default_priority_level = (
            options.priority_levels + 1
        ) // 2  # of requests that name none; 1 is the highest
    return batching


def graph_batching(options: ExportOptions) -> pb.ModelDynamicBatching:
    """The queue before a graph of its own: calls are planned already, and waiting would only make them late.

    Unless asked for, nothing bounds or orders it: with `max_queue_size`, timeouts or priorities Triton no longer prepares a
    batch while the one before it runs (PriorityQueue's `support_prefetching_`), and then it misses wake-ups: on a busy machine
    one request in a few hundred waits for 500 ms (seen with 2.51, `make bench-stalls`)."""
    batching = pb.ModelDynamicBatching()
    if options.max_queue:
        batching.default_queue_policy.max_queue_size = options.max_queue
    return batching


def add_providers(config: pb.ModelConfig, served: Served) -> None:
    """Parameters and accelerators of the graph's model, none on a CPU."""
    for name, settings in ACCELERATORS.get(served.options.device, {}).items():
        values = dict(_values(settings, served))
        if values:
            config.optimization.execution_accelerators.gpu_execution_accelerator.add(name=name, parameters=values)
    if served.options.device in GPUS:
        for key, value in _values(PARAMETERS, served):
            config.parameters[key].string_value = value


def add_warmup(config: pb.ModelConfig, served: Served) -> dict[str, bytes]:
    """A call at each corner, every input listed; gives the files that they read. On a CPU one small call of zeros."""
    files: dict[str, bytes] = {}
    on_gpu = served.options.device in GPUS
    for sizes in served.corners if on_gpu else [{"batch": 1, "sequence": ROUND_TO, "masks": 1}]:
        name = "x".join(str(sizes[axis]) for axis in ("batch", "sequence") if axis in sizes) if on_gpu else "zeros"
        warmup = config.model_warmup.add(name=name, batch_size=sizes["batch"])
        for value in served.graph.inputs:
            dims = [sizes.get(dim, dim) for dim in value.dims[1:]]
            data: dict[str, Any] = {"zero_data": True}
            if (
                on_gpu and value.name == "attention_mask"
            ):  # kernels may take another way where nothing is to be attended to
                ones = np.ones(dims, np.int64).tobytes()
                file = warmup_file(f"ones_{dims[0]}", ones)
                files[f"{WARMUP}/{file}"] = ones
                data = {"input_data_file": file}
            warmup.inputs[value.name].CopyFrom(pb.ModelWarmup.Input(data_type=DTYPES[value.dtype], dims=dims, **data))
    return files


def _values(settings: tuple[Setting, ...], served: Served) -> Iterator[tuple[str, str]]:
    release = served.options.release or FIRST_RELEASE
    for setting in settings:
        value = setting.value(served)
        if value is not None and setting.first <= release:
            yield setting.key, value
