"""checkpoint → graph: PyTorch's exporter, with attention emitted and the axes named `batch` and `sequence`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..artifacts import Checkpoint, Graph
from ..errors import ExportError, UnknownName
from .attention import ATTENTIONS, attention_of
from .heads import FULL_PRECISION, TaskModel

#: Batches larger than this are refused by the exported shapes' bounds check alone; the graph itself has no limit.
_MOST_ROWS = 1 << 16


def export_graph(checkpoint: Checkpoint, attention: str, opset: int) -> Graph:
    """Exports the task's model in fp32. Raises ExportError, and UnknownName for `attention`."""
    if attention not in ATTENTIONS:
        raise UnknownName("attention", attention, ATTENTIONS)
    inputs = checkpoint.family.inputs
    batch = torch.export.Dim("batch", min=1, max=_MOST_ROWS)
    sequence = torch.export.Dim("sequence", min=1, max=checkpoint.max_length)
    # the sizes of the example must differ from each other, and from 0 and 1, which are specialised
    example = tuple(torch.ones(2, 5, dtype=torch.int64) for _ in inputs)
    module = TaskModel(checkpoint)
    try:
        with attention_of(checkpoint.model, attention), _quiet():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                dynamic_shapes=(tuple({0: batch, 1: sequence} for _ in inputs),),
                input_names=list(inputs),
                output_names=[checkpoint.task.output],
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever its passes raise
        raise ExportError(f"PyTorch could not export the model: {str(error).strip().splitlines()[0]}") from error
    model = program.model.clone()
    for value in program.model.graph.initializers.values():
        value.const_value = None  # onnxscript's rewriter keeps the last graph it saw
    full_precision = frozenset(
        node.name
        for node in model.graph
        if f"'{FULL_PRECISION}'" in node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
    )
    return Graph(
        model=model,
        inputs=inputs,
        output=checkpoint.task.output,
        per=checkpoint.task.per,
        width=int(model.graph.outputs[0].shape[-1]),
        attention=attention,
        full_precision=full_precision,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks (a missing torchvision, axis names that are equal) out of users' logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
