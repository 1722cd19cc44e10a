"""Computes what serving an entry takes from what its repository says about it. Nothing is loaded or run.

    host = server + for each frontend (process + weights in all copies + what is read at once + activations + keys and values)
    GPU  = what the manifests estimated at the export, see engines/common/memory.py

The constants were measured with the embedded Triton on a CPU: all-MiniLM-L6-v2 with full batches of its longest texts took 1,036
MiB in fp16, 993 in fp32 and 415 in int8. The estimates are 1,111, 1,068 and 1,063 MiB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.frontend_settings import DecoderSettings, EncoderSettings, FrontendSettings, read_settings
from ..core.layout import CONFIG, graph_file, served_version
from ..core.manifest import GpuMemory, served_manifest
from ..engines.common.memory import bytes_together
from ..triton_models.batch_planner import THREAD_TOKENS
from ..triton_models.image_sizes import BYTES_A_PIXEL

MIB = 2**20
#: Memory of tritonserver itself, by whether it uses GPUs: CUDA's libraries and pinned buffers are in the host's memory.
SERVER_BYTES: Mapping[bool, int] = {False: 256 * MIB, True: 3072 * MIB}
#: Memory of a Python model without its graph: an interpreter with numpy, onnxruntime, tokenizers and Pillow.
PROCESS_BYTES = 128 * MIB
#: How many copies of a graph's file are in memory on a CPU, by precision: the file as read, what onnxruntime repacked for its
#: kernels and, for fp16, both again in fp32, because the CPU computes in fp32.
COPIES: Mapping[str, int] = {"fp32": 2, "fp16": 5, "int8": 3}
#: The most memory for reading a batch of long texts; for images it is the frontend's own limit.
TEXT_BYTES = 128 * MIB
#: How many tensors as wide as the widest layer exist at once.
LIVE_TENSORS = 8
#: Bytes of a number in a layer: a CPU computes in fp32, whatever the precision.
_NUMBER = 4
#: Bytes of a number in a decoder's keys and values.
_STATE: Mapping[str, int] = {"fp32": 4, "fp16": 2, "int8": 4}


@dataclass(frozen=True)
class ResourceNeed:
    """What a frontend takes of the `host`, in bytes. `weights`, and `state` for keys and values, are where its graph runs.
    `memory`: the manifest's estimate for the GPU; None if it runs on a CPU. `apart`: it runs in the Python model."""

    name: str
    weights: int
    state: int
    host: int
    memory: GpuMemory | None
    apart: bool

    @property
    def on_gpu(self) -> bool:
        return self.memory is not None

    @property
    def gpu(self) -> int:
        return gpu_bytes([self])


def need_of(repository: Path, name: str, cpus: int) -> ResourceNeed:
    """Returns what the served version of a frontend takes on `cpus` CPUs. Raises RepositoryError."""
    version, manifest = served_version(repository, name), served_manifest(repository, name)
    settings, precision = read_settings(repository / name / str(version)), manifest.graph.precision
    memory, graph = manifest.serving.memory, graph_file(repository, name, version)
    # with more than 2 GB of weights, the graph is in a folder with them
    files = graph.parent.iterdir() if graph.parent.name == graph.name else [graph]
    weights = sum(file.stat().st_size for file in files)
    state = _state_bytes(repository, name, version, _STATE[precision])
    held = weights  # for a graph on a GPU, the host holds the file while it is read
    if memory is None:
        activations = LIVE_TENSORS * _NUMBER * _widest_layer(graph) * _tokens(repository, name, settings, cpus)
        held = COPIES[precision] * weights + _reading(settings) + activations + state
    return ResourceNeed(name, weights, state, PROCESS_BYTES + held, memory, not manifest.has_graph_model)


def host_bytes(needs: Sequence[ResourceNeed]) -> int:
    """The host memory of a server with these frontends."""
    return SERVER_BYTES[any(need.on_gpu for need in needs)] + sum(need.host for need in needs)


def gpu_bytes(needs: Sequence[ResourceNeed]) -> int:
    """The memory of a GPU that serves these frontends; 0 if none runs there."""
    found = [(need.memory.context, need.memory.own, need.apart) for need in needs if need.memory]
    return bytes_together(found) if found else 0


def rounded(size: int, step: int = 64 * MIB) -> str:
    """The size as Kubernetes writes it, rounded up: `1024Mi`."""
    return f"{-(-size // step) * step // MIB}Mi"


def _widest_layer(graph: Path) -> int:
    """The most numbers that a layer outputs for a token."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    inputs = {
        name for node in model.graph.node for name in node.input if "MatMul" in node.op_type or node.op_type == "Gemm"
    }
    matrices = [tensor.dims for tensor in model.graph.initializer if tensor.name in inputs and len(tensor.dims) == 2]
    widest = max((min(dims[-1], _WIDEST) for dims in matrices), default=_WIDEST)
    # a sparse embedding is made of logits over the vocabulary for each token
    sparse = (output.type.tensor_type.shape.dim for output in model.graph.output if output.name == "sparse_embedding")
    return max([widest, *(dims[-1].dim_value for dims in sparse)])


#: A decoder's last layer is as wide as its vocabulary, but runs for only one token of each text.
_WIDEST = 16384


def _reading(settings: FrontendSettings) -> int:
    pixels = settings.reader.get("max_pixels") if isinstance(settings, EncoderSettings) else None
    return TEXT_BYTES if pixels is None else BYTES_A_PIXEL * pixels


def _tokens(repository: Path, name: str, settings: FrontendSettings, cpus: int) -> int:
    """The most tokens that a frontend passes to the graph at once and keeps memory for: in calls of all threads together, and in
    calls of one thread each."""
    if isinstance(settings, DecoderSettings):  # a piece of one prompt, or one token for each slot
        parameters = _parameters(repository, name)
        return max(int(parameters["prefill_chunk"]), int(parameters["slots"]))
    limits, tokens = settings.limits, settings.reader.get("tokens") or settings.reader["max_length"]
    calls = (limits.max_tokens, cpus * max(THREAD_TOKENS, tokens))
    return sum(min(most, limits.max_rows * tokens) for most in calls)


def _state_bytes(repository: Path, name: str, version: int, itemsize: int) -> int:
    """Bytes of the keys and values of all slots; 0 for models that are not decoders."""
    path = repository / name / str(version) / "genai_config.json"
    if not path.is_file():
        return 0
    model, parameters = json.loads(path.read_text(encoding="utf-8"))["model"], _parameters(repository, name)
    decoder = model["decoder"]
    length = int(parameters["max_length"]) or model["context_length"]
    numbers = decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"]
    return int(2 * numbers * length * int(parameters["slots"]) * itemsize)


def _parameters(repository: Path, name: str) -> dict[str, str]:
    """The parameters in a model's config.pbtxt."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (repository / name / CONFIG).read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return {key: value.string_value for key, value in config.parameters.items()}
