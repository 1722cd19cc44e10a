"""Checkpoint → graph: runs PyTorch's exporter with our own attention and named free axes."""

from __future__ import annotations

import logging
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import onnx_ir as ir
import torch

from ...checkpoint.parts import image_of
from ...checkpoint.task_model import FULL_PRECISION, TaskModel
from ...core.types import Checkpoint, Graph, GraphInput, GraphOutput
from ...errors import ExportError, UnknownName
from ...tasks.base import Endpoint
from ..passes.values import input_of, name_of, sizes_of
from .attention import ATTENTIONS, attention_of
from .native import native_attention_of
from .packed_attention import attention_unpacked
from .positions import positions_resized

#: The largest batch that the exported shapes' bounds check accepts; the graph itself has no limit.
MOST_ROWS = 1 << 16
#: Free axis -> its size in the example. The sizes differ from each other, and from 0 and 1, which are specialised.
_EXAMPLE = {"batch": 2, "sequence": 5, "masks": 3}
#: The functions that rotary positions go through.
_ANGLES = ("Sin", "Cos")
_TORCH_TYPES = {"INT64": torch.int64, "FLOAT": torch.float32}


def export_graph(checkpoint: Checkpoint, endpoint: Endpoint, attention: str, opset: int) -> Graph:
    """Exports the model of one part of the task in fp32. Raises ExportError, and UnknownName for `attention`."""
    if attention not in ATTENTIONS:
        raise UnknownName("attention", attention, ATTENTIONS)
    module = TaskModel(checkpoint, endpoint)
    inputs = tuple(_input(name, checkpoint) for name in module.inputs)
    axes = {
        "batch": torch.export.Dim("batch", min=1, max=MOST_ROWS),
        "sequence": torch.export.Dim("sequence", min=1, max=checkpoint.max_length),
        "masks": torch.export.Dim("masks", min=1, max=checkpoint.max_length),
    }
    native, model, form = checkpoint.family.attention, checkpoint.model, ATTENTIONS[attention]
    example, shapes = example_of(inputs, _EXAMPLE), (tuple(free_axes(inputs, axes)),)
    with ExitStack() as contexts:
        if checkpoint.family.resizes_positions:
            contexts.enter_context(positions_resized(module, example))
        if native is None:
            contexts.enter_context(attention_of(model, form.registered_name))
        else:
            contexts.enter_context(native_attention_of(model, native, form))
        contexts.enter_context(attention_unpacked(module, form))
        graph = traced(module, example, shapes, module.inputs, module.outputs, opset)
    full_precision = positional_nodes(graph) | {
        name_of(node)
        for node in graph.graph
        if f"'{FULL_PRECISION}'" in node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
    }
    outputs = tuple(
        GraphOutput(output.name, output.per, sizes_of(value, 1 if output.per == "row" else 2))
        for output, value in zip(checkpoint.outputs[endpoint.suffix], graph.graph.outputs, strict=True)
    )
    return Graph(graph, inputs, outputs, attention, full_precision=full_precision)


def positional_nodes(model: ir.Model) -> frozenset[str]:
    """The names of the nodes that compute indices or angles from positions. In fp16, which has 11 bits, a large position or angle
    would become another one."""
    ends = [node for node in model.graph if _makes_index(node) or node.op_type in _ANGLES]
    found: dict[ir.Node, None] = {}
    while ends:
        node = ends.pop()
        if node not in found:
            found[node] = None
            ends += [producer for value in node.inputs if value and (producer := value.producer()) is not None]
    return frozenset(name_of(node) for node in found)


def _makes_index(node: ir.Node) -> bool:
    if node.op_type != "Cast" or input_of(node, 0).dtype != ir.DataType.FLOAT:
        return False
    return node.attributes.get_int("to") in (ir.DataType.INT32, ir.DataType.INT64)


def example_of(inputs: Sequence[GraphInput], sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """A tensor for each input; `sizes`: of the free axes."""
    return tuple(
        torch.ones([dim if isinstance(dim, int) else sizes[dim] for dim in value.dims], dtype=_TORCH_TYPES[value.dtype])
        for value in inputs
    )


def free_axes(inputs: Sequence[GraphInput], axes: Mapping[str, Any]) -> list[dict[int, Any]]:
    """The free axes of each input, as `torch.export` takes them."""
    return [{axis: axes[dim] for axis, dim in enumerate(value.dims) if isinstance(dim, str)} for value in inputs]


def traced(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    dynamic_shapes: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
) -> ir.Model:
    """The graph that PyTorch's exporter makes of a module, with named inputs and outputs. Raises ExportError."""
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                dynamic_shapes=dynamic_shapes,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter lets any error of its passes through
        if (refusal := _refusal(error)) is not None:
            raise refusal from None
        raise ExportError(f"PyTorch could not export the model: {str(error).strip().splitlines()[0]}") from error
    if program is None:  # only the TorchScript exporter returns nothing
        raise ExportError("PyTorch's exporter returned no model")
    model = program.model.clone()
    for value in program.model.graph.initializers.values():
        value.const_value = None  # onnxscript's rewriter keeps the last graph it saw
    _name_by_module(model.graph)
    return model


def _refusal(error: BaseException | None) -> ExportError | None:
    """Our own error, which the exporter wraps in others."""
    while error is not None and not isinstance(error, ExportError):
        error = error.__cause__ or error.__context__
    return error


def _name_by_module(graph: ir.Graph) -> None:
    """Names nodes after the modules they come from, as in `encoder.layer.0.output.dense/MatMul`."""
    counts: Counter[str] = Counter()
    for node in graph:
        # the last scope is PyTorch's name for the operation; the wrapping module's name carries no information
        scopes = literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))[:-1]
        module = scopes[-1].removeprefix("model").lstrip(".") if scopes else ""
        name = f"{module}/{node.op_type}" if module and not module.startswith("_") else node.op_type
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"


def _input(name: str, checkpoint: Checkpoint) -> GraphInput:
    """An input's type and dimensions."""
    if name == "pixel_values":
        return GraphInput(name, "FLOAT", ("batch", *image_of(checkpoint)["shape"]))
    length = checkpoint.family.padded_to or "sequence"
    return GraphInput(name, "INT64", ("batch", "masks" if name == "mask_positions" else length))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks (a missing torchvision, equal axis names) out of users' logs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
