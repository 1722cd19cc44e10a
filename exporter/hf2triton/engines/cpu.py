"""onnxruntime's CPU provider, in the frontend's process or in a separate model."""

from tritonclient.grpc import model_config_pb2 as pb

from .base import MAX_TOKENS_ON_CPU, Engine

_PRECISIONS = ("fp32", "fp16", "int8")

ENGINE = Engine(
    name="cpu",
    # a decoder's state stays with its graph: passing it between models costs more than the graph itself
    runners={"encoder": ("inprocess", "bls"), "decoder": ("inprocess",)},
    precisions={"encoder": _PRECISIONS, "decoder": _PRECISIONS},
    instance_kind=pb.ModelInstanceGroup.KIND_CPU,
    max_tokens=MAX_TOKENS_ON_CPU,
    round_to=1,  # more would only add padding on a CPU
)
