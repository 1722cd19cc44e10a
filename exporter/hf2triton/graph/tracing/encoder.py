"""Checkpoint → graph: runs PyTorch's exporter with our own attention and named free axes."""

from __future__ import annotations

import logging
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import onnx_ir as ir
import torch

from ...checkpoint.parts import image_of
from ...checkpoint.task_model import FULL_PRECISION, TaskModel
from ...core.types import Checkpoint, Graph, GraphInput, GraphOutput
from ...errors import ExportError, UnknownName
from ...tasks.base import Endpoint
from ..passes.values import name_of, sizes_of
from .attention import ATTENTIONS, attention_of

#: The largest batch that the exported shapes' bounds check accepts; the graph itself has no limit.
MOST_ROWS = 1 << 16
#: Free axis -> its size in the example. The sizes differ from each other, and from 0 and 1, which are specialised.
_EXAMPLE = {"batch": 2, "sequence": 5, "masks": 3}
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
    native = checkpoint.family.attention == "native"
    with nullcontext() if native else attention_of(checkpoint.model, ATTENTIONS[attention].registered_name):
        shapes = (tuple(free_axes(inputs, axes)),)
        model = traced(module, example_of(inputs, _EXAMPLE), shapes, module.inputs, module.outputs, opset)
    full_precision = frozenset(
        name_of(node)
        for node in model.graph
        if f"'{FULL_PRECISION}'" in node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
    )
    outputs = tuple(
        GraphOutput(output.name, output.per, sizes_of(value, 1 if output.per == "row" else 2))
        for output, value in zip(checkpoint.outputs[endpoint.suffix], model.graph.outputs, strict=True)
    )
    return Graph(model, inputs, outputs, attention, full_precision=full_precision)


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
        raise ExportError(f"PyTorch could not export the model: {str(error).strip().splitlines()[0]}") from error
    if program is None:  # only the TorchScript exporter returns nothing
        raise ExportError("PyTorch's exporter returned no model")
    model = program.model.clone()
    for value in program.model.graph.initializers.values():
        value.const_value = None  # onnxscript's rewriter keeps the last graph it saw
    _name_by_module(model.graph)
    return model


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
    return GraphInput(name, "INT64", ("batch", "masks" if name == "mask_positions" else "sequence"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks (a missing torchvision, equal axis names) out of users' logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
