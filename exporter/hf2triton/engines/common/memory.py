"""What serving a graph takes of a GPU's memory, estimated from the graph itself, and the largest batch that fits.

    context + instances · (weights + arena · activations of the largest call + what is kept between calls)

Activations are the buffers that a call needs when the graph's nodes run in their order, from the shapes that the graph carries.
onnxruntime joins nodes and so needs less; its arena keeps what calls of other shapes left, and so needs more: ARENA.
tests/exporter/repository/test_memory_estimate.py compares with what onnxruntime takes on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from ...core.options import ResolvedOptions
from ...core.sizes import gigabytes
from ...core.types import Graph, MemoryEstimate, StoredGraph
from ...errors import UsageError
from .. import ENGINES

if TYPE_CHECKING:
    import onnx_ir as ir

#: What Triton takes before a model is loaded: CUDA's context and its own pool. This and what follows was measured on an H100 with
#: driver 580, Triton 2.51 and onnxruntime 1.31; it depends on all of them.
SERVER_BYTES = 584 * 10**6
#: What onnxruntime's provider adds for the libraries and their workspaces: in the server's process, once, or in that of each
#: Python model, which has a context of its own.
LIBRARY_BYTES, PROCESS_BYTES = 290 * 10**6, 740 * 10**6
#: How much more than the largest call needs an arena comes to hold that grows as requested: onnxruntime lays out the memory of
#: each shape of call apart. 2.5 to 3.5 were seen for a BERT-base, 1.3 without that (`enable_mem_pattern`).
ARENA = 3.5


def estimate_memory(
    stored: StoredGraph, options: ResolvedOptions, max_length: int | None, explicit: bool
) -> MemoryEstimate:
    """With the largest batch of at most the one asked for that fits the GPU. `options`: settled. `explicit`: the batch was asked
    for, so that a smaller one will not do. Raises UsageError, which says what would fit."""

    def of(rows: int) -> MemoryEstimate:
        activations = max(
            live_bytes(stored.graph, sizes) for sizes in largest_calls(stored.graph, options, rows, max_length)
        )
        kept = kept_bytes(stored.graph, rows, max_length)
        kept += ENGINES[options.device].workspace_bytes
        arena = ceil(activations * (ARENA - 1))
        about = (options.instances, stored.weight_bytes, activations, arena, kept)
        return MemoryEstimate(options.gpu_memory, context_bytes(stored.graph, options), *about, rows)

    asked, fitting = of(options.max_batch_size), options.max_batch_size
    if asked.total <= asked.gpu:
        return asked
    low, high = 0, fitting  # low fits (nothing does), high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if of(middle).total <= asked.gpu else (low, middle)
    if low == 0 or explicit:
        would = f"a batch of {low} fits" if low else f"not even a batch of 1 fits, which takes {gigabytes(of(1).total)}"
        raise UsageError(
            f"a batch of {options.max_batch_size} takes about {gigabytes(asked.total)} of the GPU, which has"
            f" {gigabytes(asked.gpu)}: {would}. Ask for fewer instances or a smaller batch, or say --gpu-memory"
        )
    return of(low)


def context_bytes(graph: Graph, options: ResolvedOptions) -> int:
    """What is taken beside the instances. A graph with a state runs in a Python model, each instance of which is a process."""
    return SERVER_BYTES + (options.instances * PROCESS_BYTES if graph.state else LIBRARY_BYTES)


def bytes_together(models: Collection[tuple[int, int, bool]]) -> int:
    """What models take of a GPU that they share: `(context, all else, whether it runs in a Python model)` of each. The server is
    there once, and the libraries once for all graphs in its process."""
    inside = [context - SERVER_BYTES for context, _, apart in models if not apart]
    processes = sum(context - SERVER_BYTES for context, _, apart in models if apart)
    return SERVER_BYTES + max(inside, default=0) + processes + sum(own for _, own, _ in models)


def largest_calls(graph: Graph, options: ResolvedOptions, rows: int, max_length: int | None) -> list[dict[str, int]]:
    """The sizes of the free axes in the calls that need most. The planner keeps calls of the runner within the engine's
    `max_tokens`, and one row may be longer; TensorRT plans for the corner of its profile, whatever is called."""
    if max_length is None:
        return [{"batch": rows}]
    if graph.state:  # a step of all slots, and a piece of a prompt in one
        piece = min(64, max_length)
        return [_decoder_sizes(rows, 1, max_length), _decoder_sizes(1, piece, max_length)]
    engine = ENGINES[options.device]
    if engine.whole_corner:
        return [{"batch": rows, "sequence": max_length, "masks": max_length}]
    wide = max(1, min(rows, engine.max_tokens // max_length))
    narrow = max(1, min(max_length, engine.max_tokens // rows))
    # a row has at most as many masks as tokens; most have a few
    return [
        {"batch": batch, "sequence": length, "masks": length} for batch, length in ((wide, max_length), (rows, narrow))
    ]


def live_bytes(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Bytes of the buffers for all values of a call, inputs included and weights not, with the free axes of these sizes.

    onnxruntime gives a value the buffer of an earlier one of the same size that nobody reads any more, and keeps it for the next
    (FindReusableTensor in core/framework/allocation_planner.cc): so as many buffers of each size as are needed at once.
    """
    model = graph.model.graph
    last = {value: index for index, node in enumerate(model) for value in node.inputs if value is not None}
    apart = {*model.outputs, *model.initializers.values()}
    state = {*graph.state, *graph.state.values()}  # one buffer for past and present, counted as kept
    given = sum(_bytes(value, sizes) for value in model.inputs if value.name not in state and value not in apart)
    alive: dict[ir.Value, int] = {}
    now: Counter[int] = Counter()
    most: Counter[int] = Counter()
    extra = 0
    for index, node in enumerate(model):
        own = {value: _bytes(value, sizes) for value in node.outputs if value.name and value.name not in state}
        alive |= own
        now.update(own.values())
        most |= now
        extra = max(extra, _WORKSPACE.get(node.op_type, lambda node, sizes: 0)(node, sizes))
        read = [value for value in dict.fromkeys(node.inputs) if last.get(value) == index]
        for value in (*read, *(value for value in own if value not in last)):
            if value in alive and value not in apart:
                now[alive.pop(value)] -= 1
    return given + extra + sum(size * count for size, count in most.items())


def kept_bytes(graph: Graph, rows: int, max_length: int | None) -> int:
    """Of what lives from call to call: the keys and values of `rows` slots."""
    if not graph.state:
        return 0
    sizes = _decoder_sizes(rows, 1, max_length)
    return sum(_bytes(value, sizes) for value in graph.model.graph.inputs if value.name in graph.state)


def _decoder_sizes(rows: int, length: int, context: int) -> dict[str, int]:
    return {"batch": rows, "sequence": length, "kept": length, "past": context, "total": context}


def _scores(node: ir.Node, sizes: Mapping[str, int]) -> int:
    """`[batch, heads, sequence, sequence]`, where no fused kernel does without: that is so for a mask in two dimensions."""
    mask = node.inputs[4] if len(node.inputs) > 4 else None
    if mask is None or len(mask.shape) != 2:
        return 0
    batch, length = (_size(dim, sizes) for dim in node.inputs[0].shape[:2])
    return batch * node.attributes.get_int("num_heads") * length * length * node.inputs[0].dtype.itemsize


#: op -> what it takes for the time it runs.
_WORKSPACE: Mapping[str, Callable[[Any, Mapping[str, int]], int]] = {"MultiHeadAttention": _scores}


def _bytes(value: ir.Value, sizes: Mapping[str, int]) -> int:
    """Of a tensor. One whose type or shape is unknown counts nothing: such are the shapes that graphs compute with."""
    if value.shape is None or value.dtype is None:
        return 0
    return ceil(prod(_size(dim, sizes) for dim in value.shape) * value.dtype.itemsize)


def _size(dim: int | ir.SymbolicDim, sizes: Mapping[str, int]) -> int:
    """Of an axis: a number, a free axis, or what PyTorch's exporter wrote of free axes, such as `3*batch + 2`. One that it
    could not name counts as the largest."""
    if isinstance(dim, int):
        return dim
    largest = max(sizes.values())
    size = dim.evaluate({name: sizes.get(name, largest) for name in dim.free_symbols()})
    return size if isinstance(size, int) else largest
