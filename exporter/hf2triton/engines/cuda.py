"""onnxruntime's CUDA provider: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options"""

from tritonclient.grpc import model_config_pb2 as pb

from .base import FIRST_RELEASE, Engine, Setting, constant, in_precision, on_images

#: Of the accelerator `cuda`.
CUDA = (
    # fp32 was proved in fp32; TF32, which is on by default, has fp16's mantissa
    Setting("use_tf32", in_precision("fp32", "0"), FIRST_RELEASE),
    # of images alone: without it, fp16 convolutions fall back on slow algorithms (https://github.com/microsoft/onnxruntime/issues/9162)
    Setting("cudnn_conv_use_max_workspace", on_images("1"), FIRST_RELEASE),
    # onnxruntime joins residuals with the norms after them; the strict kernel gives up speed for exactness
    Setting("enable_skip_layer_norm_strict_mode", in_precision("fp16", "1"), FIRST_RELEASE),
)
#: Of the provider, in the config's own `parameters`: in an accelerator's they are overwritten.
PARAMETERS = (
    # 1 = HEURISTIC: batches have many sizes, and the default, EXHAUSTIVE, tries all algorithms for each. Only images convolve.
    Setting("cudnn_conv_algo_search", on_images("1")),
    Setting("gpu_mem_limit", lambda served: str(served.memory.limit) if served.memory else None),
    # 1 = kSameAsRequested: powers of two would take up to twice what the estimate says
    Setting("arena_extend_strategy", constant("1")),
    Setting("do_copy_in_default_stream", constant("1")),
)

ENGINE = Engine(
    name="cuda",
    gpu=True,
    runners={"encoder": ("bls",), "decoder": ("inprocess",)},
    precisions={"encoder": ("fp32", "fp16"), "decoder": ("fp32", "fp16")},
    instance_kind=pb.ModelInstanceGroup.KIND_GPU,
    proved_on="cuda",
    queue_delay=500,
    # A GPU answers a small call no quicker than its kernels can be launched, and meanwhile it computes so many tokens. On an H100
    # 5,108 were measured for a BERT-base, 9,404 through Triton; for a MiniLM, whose 4,096 tokens take no longer than 16, more
    # than a call may hold. Smaller GPUs compute fewer in that time, and TensorRT launches fewer kernels.
    call_overhead=2048,
    accelerators={"cuda": CUDA},
    parameters=PARAMETERS,
)
