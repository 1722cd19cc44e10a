"""onnxruntime's CUDA provider: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options"""

from tritonclient.grpc import model_config_pb2 as pb

from .base import FIRST_RELEASE, Engine, Setting, constant, in_precision, on_images

#: Settings of the accelerator `cuda`.
CUDA = (
    # fp32 graphs were proved in fp32; TF32, which is on by default, has fp16's mantissa
    Setting("use_tf32", in_precision("fp32", "0"), FIRST_RELEASE),
    # for images only: without it, fp16 convolutions fall back to slow algorithms (https://github.com/microsoft/onnxruntime/issues/9162)
    Setting("cudnn_conv_use_max_workspace", on_images("1"), FIRST_RELEASE),
    # onnxruntime fuses residuals with the norms after them; the strict kernel trades speed for accuracy
    Setting("enable_skip_layer_norm_strict_mode", in_precision("fp16", "1"), FIRST_RELEASE),
)
#: Settings of the provider in the config's `parameters`; as an accelerator's parameters they would be overwritten.
PARAMETERS = (
    # 1 = HEURISTIC: batches have many sizes, and the default, EXHAUSTIVE, tries all algorithms for each. Only image models have
    # convolutions.
    Setting("cudnn_conv_algo_search", on_images("1")),
    Setting("gpu_mem_limit", lambda served: str(served.memory.limit) if served.memory else None),
    # 1 = kSameAsRequested: powers of two would take up to twice the estimate
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
    # Even a small call takes the time to launch its kernels, in which the GPU could compute many tokens. Measured on an H100:
    # 5,108 tokens for an encoder with 110 million weights, 9,404 through Triton; for one with 22 million, whose 4,096 tokens
    # take no longer than 16, more than a call may hold. Smaller GPUs compute fewer tokens in that time, and TensorRT launches
    # fewer kernels.
    call_overhead=2048,
    accelerators={"cuda": CUDA},
    parameters=PARAMETERS,
)
