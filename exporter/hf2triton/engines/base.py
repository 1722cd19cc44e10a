"""What an engine is: a table row that says how graphs run on a device, and what Triton's config says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tritonclient.grpc import model_config_pb2 as pb

from ..core.options import ResolvedOptions
from ..core.types import Graph, MemoryEstimate

#: The first release whose onnxruntime backend is certain to accept the CUDA provider's options as an accelerator's (since June
#: 2024, https://github.com/triton-inference-server/onnxruntime_backend/pull/256) and TensorRT's shape profiles (24.03 refuses
#: them: https://github.com/triton-inference-server/server/issues/7156).
FIRST_RELEASE = "24.08"
#: The maximum number of padded tokens in a call of the graph, which bounds the memory of its activations. Larger calls are more
#: efficient on a GPU, but not on a CPU (see THREAD_TOKENS in triton_models/batch_planner.py).
MAX_TOKENS, MAX_TOKENS_ON_CPU = 1 << 14, 1 << 10
#: Lengths are rounded up to multiples of this for tensor cores; it is also the shortest length.
ROUND_TO = 8

#: Free axis -> its size.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Engine:
    """Runs graphs: onnxruntime with its providers, on one kind of device. `name`: its value of `--device`.

    `gpu`: the device has separate memory, which is estimated and bounded. `runners` and `precisions`: kind of graph -> the
    supported values, the default first; a missing kind does not run there. `attentions`: the supported forms of attention, the
    default first; None: all. `proved_on`: the provider that proves its graphs, if the machine has such a device.

    `max_tokens`: the maximum number of padded tokens in a call. `round_to`: lengths are padded to multiples of it.
    `whole_corner`: memory and warm-up assume the longest rows in the largest batch, regardless of `max_tokens`. `queue_delay`:
    microseconds that a request may wait for others; worthwhile if a call costs as much as hundreds of tokens. `call_overhead`:
    the cost of one more call, in tokens, until `hf2triton tune` measures it there; None: the export measures it.
    `workspace_bytes`: memory during a call, besides the activations. `first_release`: the first Triton release that supports it.
    `why_release`: what older releases lack. `named_by_content`: the graph gets a name that no other graph has.

    `accelerators`: name -> settings, in the order in which they take nodes. `parameters`: the settings of the config itself.
    """

    name: str
    runners: Mapping[str, tuple[str, ...]]
    precisions: Mapping[str, tuple[str, ...]]
    instance_kind: pb.ModelInstanceGroup.Kind
    gpu: bool = False
    attentions: tuple[str, ...] | None = None
    proved_on: str = "cpu"
    max_tokens: int = MAX_TOKENS
    round_to: int = ROUND_TO
    whole_corner: bool = False
    queue_delay: int = 0
    call_overhead: int | None = None
    workspace_bytes: int = 0
    first_release: str = ""
    why_release: str = ""
    named_by_content: bool = False
    accelerators: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    parameters: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class Served:
    """What the settings of a graph's model depend on. `options`: include the served batch size. `max_length`: None if all rows
    have one length, as those of images have. `memory`: None on a CPU."""

    options: ResolvedOptions
    engine: Engine
    graph: Graph
    max_length: int | None
    memory: MemoryEstimate | None

    @property
    def profile(self) -> tuple[Sizes, Sizes, Sizes]:
        """The smallest, the usual and the largest sizes that a TensorRT engine is built for. It is tuned for the usual sizes:
        full batches at a quarter of the maximum length, as for most texts. Callers' tensors may be as short as one token."""
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
        """The calls at the limits: one row and the most rows, at the shortest and the longest length, within the limit of a call.
        After these calls, the arena has its full size and every kernel is chosen."""
        rows, longest = self.options.max_batch_size, self.max_length
        if longest is None:
            sizes = [{"batch": batch} for batch in (1, rows)]
        else:
            tokens = rows * longest if self.engine.whole_corner else self.engine.max_tokens
            shortest, wide = min(ROUND_TO, longest), max(1, min(rows, tokens // longest))
            rows = max(1, min(rows, tokens // shortest))
            long = max(shortest, min(longest, tokens // rows))
            pairs = [(1, shortest), (1, longest), (rows, shortest), (rows, long), (wide, longest)]
            sizes = [{"batch": batch, "sequence": length, "masks": 1} for batch, length in pairs]
        return [one for index, one in enumerate(sizes) if one not in sizes[:index]]


@dataclass(frozen=True)
class Setting:
    """A key, and the function that returns its value, or None to leave it out. `first`: the first release whose backend reads it,
    "" for any."""

    key: str
    value: Callable[[Served], str | None]
    first: str = ""


def constant(value: str) -> Callable[[Served], str]:
    return lambda served: value


def on_images(value: str) -> Callable[[Served], str | None]:
    return lambda served: value if any(one.name == "pixel_values" for one in served.graph.inputs) else None


def in_precision(precision: str, value: str) -> Callable[[Served], str | None]:
    return lambda served: value if served.graph.precision == precision else None
