"""The table of the config parameters that the container's onnxruntime backend reads, and of the values that it accepts.

Sources. BACKEND is https://github.com/triton-inference-server/onnxruntime_backend/blob/main/src/onnxruntime.cc. The constructor
of ModelState reads the config's `parameters`. ModelState::LoadModel reads the accelerators and four CUDA provider options in
`parameters`. It has a list of TensorRT's keys and refuses others; it passes CUDA's keys to onnxruntime, which refuses unknown
keys. TRT and CUDA are onnxruntime's pages about the two providers, which say what values an option takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..base import FIRST_RELEASE

BACKEND = "onnxruntime_backend/src/onnxruntime.cc"
TRT = "onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html"
CUDA = "onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html"

#: The place of the config's `parameters`. The other places are names of accelerators.
PARAMETERS = "parameters"

_NUMBER, _POSITIVE, _ANY, _PATH = r"\d+", r"[1-9]\d*", r".+", r"/.+"
#: ParseBoolValue of Triton's backend library and onnxruntime's parser both accept these.
_SWITCH = "[01]|[Tt]rue|[Ff]alse"
_SHAPES = r"\w+:\d+(x\d+)*(,\w+:\d+(x\d+)*)*"


@dataclass(frozen=True)
class Key:
    """A key that is read. `values`: a regular expression that an accepted value matches completely. `source`: where that is
    documented. `first`: the first release that reads it, "" for any."""

    values: str
    source: str
    first: str = ""

    def takes(self, value: str) -> bool:
        return re.fullmatch(self.values, value) is not None


def _trt(values: str, first: str = "") -> Key:
    return Key(values, f"{BACKEND} LoadModel, the list of TensorRT's keys; {TRT}", first)


def _cuda(values: str) -> Key:
    return Key(values, f"{BACKEND} LoadModel, handed on; {CUDA}", FIRST_RELEASE)


#: (place, key) -> the key that is read there.
KEYS: Mapping[tuple[str, str], Key] = {
    (PARAMETERS, "intra_op_thread_count"): Key(_NUMBER, f"{BACKEND} ModelState::ModelState, read with stoi"),
    (PARAMETERS, "inter_op_thread_count"): Key(_NUMBER, f"{BACKEND} ModelState::ModelState, read with stoi"),
    (PARAMETERS, "execution_mode"): Key("[01]", f"{BACKEND} ModelState::ModelState: 0 sequential, 1 parallel"),
    (PARAMETERS, "enable_mem_arena"): Key(_SWITCH, f"{BACKEND} ModelState::ModelState, ParseBoolValue"),
    (PARAMETERS, "enable_mem_pattern"): Key(_SWITCH, f"{BACKEND} ModelState::ModelState, ParseBoolValue"),
    (PARAMETERS, "share_session_between_instances"): Key(_SWITCH, f"{BACKEND} ModelState::ModelState"),
    (PARAMETERS, "session.use_device_allocator_for_initializers"): Key(
        "[01]", f"{BACKEND} ModelState::ModelState, the only key of onnxruntime's sessions that it hands on", "25.02"
    ),
    (PARAMETERS, "cudnn_conv_algo_search"): Key("[012]", f"{BACKEND} LoadModel: 0 EXHAUSTIVE, 1 HEURISTIC, 2 DEFAULT"),
    (PARAMETERS, "gpu_mem_limit"): Key(
        _POSITIVE, f"{BACKEND} LoadModel, handed on as it is; bytes: {CUDA}#gpu_mem_limit"
    ),
    (PARAMETERS, "arena_extend_strategy"): Key("[01]", f"{BACKEND} LoadModel: 0 kNextPowerOfTwo, 1 kSameAsRequested"),
    (PARAMETERS, "do_copy_in_default_stream"): Key(_SWITCH, f"{BACKEND} LoadModel"),
    ("cuda", "use_tf32"): _cuda(_SWITCH),
    ("cuda", "cudnn_conv_use_max_workspace"): _cuda(_SWITCH),
    ("cuda", "cudnn_conv1d_pad_to_nc1d"): _cuda(_SWITCH),
    ("cuda", "enable_cuda_graph"): _cuda(_SWITCH),
    ("cuda", "enable_skip_layer_norm_strict_mode"): _cuda(_SWITCH),
    ("cuda", "fuse_conv_bias"): _cuda(_SWITCH),
    ("cuda", "prefer_nhwc"): _cuda(_SWITCH),
    ("cuda", "sdpa_kernel"): _cuda(_NUMBER),
    ("cuda", "tunable_op_enable"): _cuda(_SWITCH),
    ("cuda", "tunable_op_tuning_enable"): _cuda(_SWITCH),
    ("cuda", "tunable_op_max_tuning_duration_ms"): _cuda(_NUMBER),
    ("cuda", "use_ep_level_unified_stream"): _cuda(_SWITCH),
    # the names are the backend's, which are not always the provider's: `trt_fp16_enable` is refused
    ("tensorrt", "precision_mode"): _trt("FP32|FP16|BF16|INT8"),
    ("tensorrt", "max_workspace_size_bytes"): _trt(_POSITIVE),
    ("tensorrt", "trt_max_partition_iterations"): _trt(_NUMBER),
    ("tensorrt", "trt_min_subgraph_size"): _trt(_NUMBER),
    ("tensorrt", "int8_calibration_table_name"): _trt(_ANY),
    ("tensorrt", "int8_use_native_calibration_table"): _trt(_SWITCH),
    ("tensorrt", "trt_dla_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_dla_core"): _trt(_NUMBER),
    ("tensorrt", "trt_engine_cache_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_engine_cache_path"): _trt(_PATH),
    ("tensorrt", "trt_engine_cache_prefix"): _trt(_ANY),
    ("tensorrt", "trt_dump_subgraphs"): _trt(_SWITCH),
    ("tensorrt", "trt_force_sequential_engine_build"): _trt(_SWITCH),
    ("tensorrt", "trt_context_memory_sharing_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_layer_norm_fp32_fallback"): _trt(_SWITCH),
    ("tensorrt", "trt_timing_cache_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_timing_cache_path"): _trt(_PATH),
    ("tensorrt", "trt_force_timing_cache"): _trt(_SWITCH),
    ("tensorrt", "trt_detailed_build_log"): _trt(_SWITCH),
    ("tensorrt", "trt_build_heuristics_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_sparsity_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_builder_optimization_level"): _trt(_NUMBER),
    ("tensorrt", "trt_auxiliary_streams"): _trt(r"-?\d+"),
    ("tensorrt", "trt_tactic_sources"): _trt(_ANY),
    ("tensorrt", "trt_extra_plugin_lib_paths"): _trt(_ANY),
    # 24.03 refuses them, see FIRST_RELEASE
    ("tensorrt", "trt_profile_min_shapes"): _trt(_SHAPES, FIRST_RELEASE),
    ("tensorrt", "trt_profile_opt_shapes"): _trt(_SHAPES, FIRST_RELEASE),
    ("tensorrt", "trt_profile_max_shapes"): _trt(_SHAPES, FIRST_RELEASE),
    ("tensorrt", "trt_cuda_graph_enable"): _trt(_SWITCH),
    ("tensorrt", "trt_dump_ep_context_model"): _trt(_SWITCH),
    ("tensorrt", "trt_ep_context_file_path"): _trt(_ANY),
    ("tensorrt", "trt_ep_context_embed_mode"): _trt("[01]"),
}
#: CUDA provider options that have no effect on an accelerator: LoadModel overwrites them afterwards, the first four with the
#: config's `parameters` or with defaults.
OVERWRITTEN = frozenset(
    {
        "cudnn_conv_algo_search",
        "gpu_mem_limit",
        "arena_extend_strategy",
        "do_copy_in_default_stream",
        "device_id",
        "has_user_compute_stream",
    }
)
#: The GPU accelerators in the container's build. The CPU accelerator is `openvino`, for which this table has no keys.
ACCELERATORS = ("tensorrt", "cuda")
#: The values of `optimization.graph.level` that have a meaning; any other counts as 0. The comment in the proto is wrong.
GRAPH_LEVELS = (-1, 0, 1, 2)
