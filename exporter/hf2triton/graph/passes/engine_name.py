"""A graph name that keeps TensorRT from using the engine of another graph.

onnxruntime's TensorRT provider looks up an engine by the graph's name, the model's file name and the names of its inputs and
nodes' outputs; it ignores weights and shapes (https://github.com/microsoft/onnxruntime/issues/6455 and /32254). Two versions of
a fine-tuned model share all of these names, so the second would run on the first one's engine.
"""

from __future__ import annotations

import hashlib

from ...core.types import Graph
from .initializers import values_of
from .values import constant_of


def name_by_content(graph: Graph) -> Graph:
    """Names the graph after its weights and shapes."""
    digest = hashlib.sha256()
    model = graph.model.graph
    for value in (*model.inputs, *model.outputs):
        digest.update(f"{value.name} {value.dtype} {value.shape}\n".encode())
    for name, value in sorted(model.initializers.items()):
        array = values_of(constant_of(value))
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    model.name = f"hf2triton_{digest.hexdigest()[:32]}"
    return graph
