"""Estimates the GPU memory that serving a graph takes, from the graph itself, and finds the largest batch that fits.

    context + instances · (weights + arena · activations of the largest call + what is kept between calls)

Activations are the buffers that a call needs if the graph's nodes run in order, computed from the shapes in the graph.
onnxruntime needs less because it fuses nodes, and more because its arena keeps memory from calls of other shapes: ARENA.
tests/exporter/engines/test_memory_estimate.py compares the estimate with what onnxruntime takes on a CPU.
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

#: What Triton takes before a model is loaded: CUDA's context and Triton's pool. This and the following numbers were measured on
#: an H100 with driver 580, Triton 2.51 and onnxruntime 1.31, and depend on all of them.
SERVER_BYTES = 584 * 10**6
#: What onnxruntime's provider adds for libraries and their workspaces: once in the server's process; or in the process of each
#: Python model, including that process's CUDA context.
LIBRARY_BYTES, PROCESS_BYTES = 290 * 10**6, 740 * 10**6
#: An arena that grows as requested ends up this many times larger than the largest call needs, because onnxruntime plans memory
#: separately for each shape of call. Measured: 2.5 to 3.5 for an encoder with 110 million weights, and 1.3 without such plans
#: (`enable_mem_pattern`).
ARENA = 3.5


def estimate_memory(
    stored: StoredGraph, options: ResolvedOptions, max_length: int | None, explicit: bool
) -> MemoryEstimate:
    """The estimate for the largest batch that fits the GPU, at most the batch in `options`. `explicit`: the user asked for that
    batch, and a smaller one is an error. Raises UsageError, which says what would fit."""

    gpu = options.gpu_memory
    if gpu is None:
        raise UsageError(f"the device {options.device} has no GPU memory to estimate for")

    def of(rows: int) -> MemoryEstimate:
        activations = max(
            live_bytes(stored.graph, sizes) for sizes in largest_calls(stored.graph, options, rows, max_length)
        )
        kept = kept_bytes(stored.graph, rows, max_length)
        kept += ENGINES[options.device].workspace_bytes
        arena = ceil(activations * (ARENA - 1))
        about = (options.instances, stored.weight_bytes, activations, arena, kept)
        return MemoryEstimate(gpu, context_bytes(stored.graph, options), *about, rows)

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
    """The bytes that are taken besides the instances. A graph with a state runs in a Python model, whose instances are
    processes."""
    return SERVER_BYTES + (options.instances * PROCESS_BYTES if graph.state else LIBRARY_BYTES)


def bytes_together(models: Collection[tuple[int, int, bool]]) -> int:
    """The bytes that models on the same GPU take together. `models`: `(context, the rest, whether it runs in a Python model)` for
    each. The server counts once, and so do the libraries of all graphs in its process."""
    inside = [context - SERVER_BYTES for context, _, apart in models if not apart]
    processes = sum(context - SERVER_BYTES for context, _, apart in models if apart)
    return SERVER_BYTES + max(inside, default=0) + processes + sum(own for _, own, _ in models)


def largest_calls(graph: Graph, options: ResolvedOptions, rows: int, max_length: int | None) -> list[dict[str, int]]:
    """The sizes of the free axes in the calls that need most memory. The batch planner keeps calls within the engine's
    `max_tokens`, except for a single longer row. TensorRT always plans for the largest sizes in its profile."""
    if max_length is None:
        return [{"batch": rows}]
    if graph.state:  # a step of all slots, and a piece of a prompt in one slot
        piece = min(64, max_length)
        return [_decoder_sizes(rows, 1, max_length), _decoder_sizes(1, piece, max_length)]
    engine = ENGINES[options.device]
    if engine.whole_corner:
        return [{"batch": rows, "sequence": max_length, "masks": max_length}]
    wide = max(1, min(rows, engine.max_tokens // max_length))
    narrow = max(1, min(max_length, engine.max_tokens // rows))
    # a row has at most as many masks as tokens, though most have only a few
    return [
        {"batch": batch, "sequence": length, "masks": length} for batch, length in ((wide, max_length), (rows, narrow))
    ]


def live_bytes(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Bytes of the buffers for all values of a call, including inputs but not weights, with these sizes of the free axes.

    onnxruntime reuses the buffer of an earlier value of the same size that no later node reads (FindReusableTensor in
    core/framework/allocation_planner.cc). For each size it therefore needs as many buffers as are in use at once.
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
        if (workspace := _WORKSPACE.get(node.op_type)) is not None:
            extra = max(extra, workspace(node, sizes))
        read = [value for value in dict.fromkeys(node.inputs) if value is not None and last.get(value) == index]
        for value in (*read, *(value for value in own if value not in last)):
            if value in alive and value not in apart:
                now[alive.pop(value)] -= 1
    return given + extra + sum(size * count for size, count in most.items())


def kept_bytes(graph: Graph, rows: int, max_length: int | None) -> int:
    """Bytes that are kept between calls: the keys and values of `rows` slots."""
    if not graph.state or max_length is None:
        return 0
    sizes = _decoder_sizes(rows, 1, max_length)
    return sum(_bytes(value, sizes) for value in graph.model.graph.inputs if value.name in graph.state)


def _decoder_sizes(rows: int, length: int, context: int) -> dict[str, int]:
    return {"batch": rows, "sequence": length, "kept": length, "past": context, "total": context}


def _scores(node: ir.Node, sizes: Mapping[str, int]) -> int:
    """The bytes of `[batch, heads, sequence, sequence]` if the mask has two dimensions or there is a bias, which some kernels
    take only at some lengths; otherwise 0, as fused kernels do not need that tensor."""
    query, mask, bias = node.inputs[0], *(node.inputs[at] if len(node.inputs) > at else None for at in (4, 5))
    if bias is None and (mask is None or mask.shape is None or len(mask.shape) != 2):
        return 0
    if query is None or query.shape is None or query.dtype is None:
        return 0
    batch, length = (_size(dim, sizes) for dim in query.shape[:2])
    return ceil(batch * node.attributes["num_heads"].as_int() * length * length * query.dtype.itemsize)


#: Op -> the function that returns the bytes that it takes while it runs.
_WORKSPACE: Mapping[str, Callable[[Any, Mapping[str, int]], int]] = {"MultiHeadAttention": _scores}


def _bytes(value: ir.Value, sizes: Mapping[str, int]) -> int:
    """Bytes of a tensor; 0 if its type or shape is unknown, as for tensors that hold shapes."""
    if value.shape is None or value.dtype is None:
        return 0
    return ceil(prod(_size(dim, sizes) for dim in value.shape) * value.dtype.itemsize)


def _size(dim: int | ir.SymbolicDim, sizes: Mapping[str, int]) -> int:
    """The size of an axis: a number, a free axis, or an expression of free axes from PyTorch's exporter, such as `3*batch + 2`.
    An axis without a known name counts as the largest."""
    if isinstance(dim, int):
        return dim
    largest = max(sizes.values())
    size = dim.evaluate({name: sizes.get(name, largest) for name in dim.free_symbols()})
    return size if isinstance(size, int) else largest
