"""What an engine is: a row that says how graphs run on a device, and what Triton is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tritonclient.grpc import model_config_pb2 as pb

from ..core.options import ResolvedOptions
from ..core.types import Graph, MemoryEstimate

#: The first release whose onnxruntime backend surely knows the CUDA provider's options as an accelerator's (since June of 2024,
#: https://github.com/triton-inference-server/onnxruntime_backend/pull/256) and TensorRT's shape profiles (24.03 refuses them:
#: https://github.com/triton-inference-server/server/issues/7156).
FIRST_RELEASE = "24.08"
#: Padded tokens of one call of the graph, which bound the memory of its activations: on a GPU, which is quicker the more it is
#: given, and on a CPU, which is not (see THREAD_TOKENS in triton_models/batch_planner.py).
MAX_TOKENS, MAX_TOKENS_ON_CPU = 1 << 14, 1 << 10
#: The shortest text that frontends send with tensor cores in mind, and what lengths are rounded to.
ROUND_TO = 8

#: Free axes -> their sizes.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Engine:
    """What runs graphs: onnxruntime with its providers, on one kind of device. Its `name` is a value of `--device`.

    `gpu`: it has memory of its own, which is estimated and bounded. `runners` and `precisions`: kind of graph -> those it can
    use, the default first; a kind that is missing does not run there. `attentions`: the forms of attention it runs, the default
    first; None: all. `proved_on`: the provider by which its graphs are proved where such a device is at hand.

    `max_tokens`: padded tokens of one call. `round_to`: what lengths are padded to. `whole_corner`: memory and warm-up reckon
    with the longest rows in the largest batch, whatever `max_tokens` says. `queue_delay`: microseconds that a request may wait
    for others, worth it where a call costs as much as hundreds of tokens. `call_overhead`: what one more call costs, in tokens,
    until `hf2triton tune` has measured it there; None: it is measured by the export. `workspace_bytes`: beside the activations,
    for the time of a call. `first_release`: the first Triton release that has it. `why_release`: what older ones lack.
    `named_by_content`: the graph's name tells it apart from all others.

    `accelerators`: name -> settings, in the order in which they take nodes; `parameters`: those of the config itself.
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
    """What the settings of a graph's model depend on. `options`: with the batch that is served. `max_length`: None for images.
    `memory`: None on a CPU."""

    options: ResolvedOptions
    engine: Engine
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
            tokens = rows * longest if self.engine.whole_corner else self.engine.max_tokens
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


def constant(value: str) -> Callable[[Served], str]:
    return lambda served: value


def on_images(value: str) -> Callable[[Served], str | None]:
    return lambda served: value if served.max_length is None else None


def in_precision(precision: str, value: str) -> Callable[[Served], str | None]:
    return lambda served: value if served.graph.precision == precision else None
