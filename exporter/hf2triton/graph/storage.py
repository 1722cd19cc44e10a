"""Writes graphs to disk one weight at a time: memory never holds two copies of the weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

from ..core.layout import GRAPH
from ..core.precision_plan import PrecisionPlan
from ..core.types import Graph, StoredGraph
from ..errors import ExportError
from .passes.initializers import values_of
from .passes.release import first_onnxruntime, first_release
from .passes.values import bytes_of, constant_of
from .precision.conversion import rounded_twin, weight_bytes, with_precision

#: The maximum size of a protobuf message in bytes.
LIMIT = (1 << 31) - 1
#: The weights beside a graph. Triton expects both in a folder that has the graph's name
#: (https://github.com/triton-inference-server/onnxruntime_backend/blob/main/README.md).
WEIGHTS = "weights.data"
#: Layout of the weights in a file beside their graph. Large weights start at an offset that can be mapped into memory; smaller
#: ones stay in the graph, where onnxruntime reads shapes and axes.
_ALIGNMENT, _SMALLEST = 4096, 1024
#: Protobuf field numbers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.graph,
#: GraphProto.initializer and TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def unload(graph: Graph, folder: Path, name: str = WEIGHTS) -> Graph:
    """Moves a graph's weights from memory into a new file; they are read from it when needed.

    The file must outlive the graph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ir.external_data.unload_from_model(graph.model, folder, name, alignment=_ALIGNMENT, size_threshold_bytes=_SMALLEST)
    for value in graph.model.graph.initializers.values():
        if not isinstance(value.const_value, ir.ExternalTensor):  # small ones still share PyTorch's memory
            value.const_value = ir.Tensor(constant_of(value).numpy().copy(), name=value.name)
    return graph


def store(graph: Graph, plan: PrecisionPlan, folder: Path, largest_file: int = LIMIT) -> StoredGraph:
    """Writes a graph into a folder in the precision of its plan, and for fp16 its rounded twin too.

    Weights of more than `largest_file` bytes go into a separate file, in a folder with the graph. Files of an earlier call are
    replaced.
    """
    fp32_weight_bytes = weight_bytes(graph.model)
    converted = with_precision(graph, plan.precision, plan.names)
    size = weight_bytes(converted.model)
    external = size > min(largest_file, LIMIT)
    names = (f"{GRAPH}/{GRAPH}", f"{GRAPH}/{WEIGHTS}") if external else (GRAPH,)
    stored = StoredGraph(
        replace(converted, model=_described(converted.model)),
        {name: folder / name for name in names},
        folder / "twin.onnx",
        plan,
        size,
        fp32_weight_bytes,
        first_release(converted).first,
        first_onnxruntime(converted),
    )
    if (folder / GRAPH).is_dir():
        shutil.rmtree(folder / GRAPH)
    else:
        (folder / GRAPH).unlink(missing_ok=True)
    stored.path.parent.mkdir(parents=True, exist_ok=True)
    if external:
        save_beside(converted.model, stored.path)
    else:
        save_graph(converted.model, stored.path)
    if stored.has_twin:
        # onnxruntime maps weights beside the graph into memory instead of copying them
        ir.save(rounded_twin(converted.model), stored.twin, external_data="twin.data")
    return stored


def save_beside(model: ir.Model, path: Path) -> None:
    """Writes a model with its weights in a file beside it."""
    ir.save(model, path, external_data=WEIGHTS, alignment=_ALIGNMENT, size_threshold_bytes=_SMALLEST)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value.release()


def save_graph(model: ir.Model, path: Path) -> None:
    """Writes a model into one .onnx file, without a second copy of its weights in memory.

    Protobuf merges concatenated messages into one (https://protobuf.dev/programming-guides/encoding/#last-one-wins):
    the model without weights comes first, then one message per weight. Raises ExportError above 2 GB.
    """
    skeleton = model.clone()
    weights = list(skeleton.graph.initializers.values())
    size = bytes_of(weights)
    if size > LIMIT:
        raise ExportError(f"the graph's weights take {size / 1e9:.1f} GB, an ONNX file holds at most 2 GB")
    skeleton.graph.initializers.clear()
    with path.open("wb") as file:
        file.write(ir.serde.serialize_model(skeleton).SerializeToString(deterministic=True))
        for value in weights:
            tensor = constant_of(value)
            data = values_of(tensor).tobytes()
            about = onnx.TensorProto(name=value.name, data_type=tensor.dtype.value, dims=tensor.shape.numpy())
            prefix = about.SerializeToString(deterministic=True) + _length_prefix(_RAW_DATA, len(data))
            in_graph = _length_prefix(_INITIALIZER, len(prefix) + len(data))
            file.write(_length_prefix(_GRAPH, len(in_graph) + len(prefix) + len(data)) + in_graph + prefix)
            file.write(data)


def _length_prefix(field: int, length: int) -> bytes:
    """The tag of a length-delimited field and its length as a varint."""
    encoded = bytearray([field << 3 | 2])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _described(model: ir.Model) -> ir.Model:
    """A model without its weights."""
    described = model.clone()
    for value in described.graph.initializers.values():
        value.const_value = None
    return described
