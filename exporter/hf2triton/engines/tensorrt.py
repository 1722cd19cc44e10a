"""onnxruntime's TensorRT provider. Nodes that TensorRT does not take run on CUDA."""

from __future__ import annotations

from collections.abc import Callable

from tritonclient.grpc import model_config_pb2 as pb

from .base import FIRST_RELEASE, Engine, Served, Setting, constant, in_precision
from .cuda import CUDA, PARAMETERS

#: The folder of TensorRT's engines in the container. If operators mount no folder there, each start rebuilds them, for minutes.
ENGINE_CACHE = "/var/cache/hf2triton-tensorrt"
#: The most memory that TensorRT may take during a call besides its activations, `max_workspace_size_bytes`.
WORKSPACE_BYTES = 1 << 30


def _shapes(which: int) -> Callable[[Served], str]:
    """One set of the profile's sizes (0 smallest, 1 usual, 2 largest), as `input:1x128,…`
    (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html#explicit-shape-range-for-dynamic-shape-input)."""

    def value(served: Served) -> str:
        sizes = served.profile[which]
        return ",".join(
            f"{one.name}:{'x'.join(str(sizes.get(dim, dim) if isinstance(dim, str) else dim) for dim in one.dims)}"
            for one in served.graph.inputs
        )

    return value


#: Settings of the accelerator `tensorrt`. The names are the backend's, which are not always the provider's.
TENSORRT = (
    # `trt_fp16_enable` is refused. An fp16 graph needs this setting: without it, TensorRT may not use the graph's types.
    Setting("precision_mode", lambda served: {"fp32": "FP32", "fp16": "FP16"}[served.graph.precision]),
    # the mean square in a LayerNormalization is the first value to leave fp16's range
    Setting("trt_layer_norm_fp32_fallback", in_precision("fp16", "1")),
    Setting("max_workspace_size_bytes", constant(str(WORKSPACE_BYTES))),
    Setting("trt_engine_cache_enable", constant("1")),
    Setting("trt_engine_cache_path", constant(ENGINE_CACHE)),
    Setting("trt_timing_cache_enable", constant("1")),
    Setting("trt_timing_cache_path", constant(ENGINE_CACHE)),
    Setting("trt_profile_min_shapes", _shapes(0)),
    Setting("trt_profile_opt_shapes", _shapes(1)),
    Setting("trt_profile_max_shapes", _shapes(2)),
)

ENGINE = Engine(
    name="tensorrt",
    gpu=True,
    runners={"encoder": ("bls",)},
    precisions={"encoder": ("fp32", "fp16")},
    # TensorRT only knows ONNX's standard ops; it would leave fused nodes, and so the middle of every layer, to CUDA
    attentions=("standard",),
    instance_kind=pb.ModelInstanceGroup.KIND_GPU,
    proved_on="cuda",
    whole_corner=True,
    queue_delay=500,
    call_overhead=1024,
    workspace_bytes=WORKSPACE_BYTES,
    first_release=FIRST_RELEASE,
    why_release="the backend of older ones does not know shape profiles",
    # TensorRT's engine cache looks engines up by the graph's name
    named_by_content=True,
    accelerators={"tensorrt": TENSORRT, "cuda": CUDA},
    parameters=PARAMETERS,
)
