"""Graphs on disk, written one weight at a time, so that weights are in memory once."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from ..artifacts import Graph, StoredGraph
from ..errors import ExportError
from .precision import rounded_twin, weight_bytes

#: What one protobuf message can hold.
LIMIT = (1 << 31) - 1
#: Protobuf field numbers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.graph,
#: GraphProto.initializer and TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def store(graph: Graph, fp32_weight_bytes: int, folder: Path) -> StoredGraph:
    """Writes a graph, and for fp16 its rounded twin, into a folder; the graph's weights then leave memory.

    Raises ExportError above 2 GB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = weight_bytes(graph.model)
    stored = StoredGraph(graph, folder / "model.onnx", folder / "twin.onnx", size, fp32_weight_bytes)
    save_graph(graph.model, stored.path)
    if stored.has_twin:
        # with its weights beside it, which onnxruntime maps into memory instead of copying them
        ir.save(rounded_twin(graph.model), stored.twin, external_data="twin.data")
    for value in graph.model.graph.initializers.values():
        value.const_value = None
    return stored


def save_graph(model: ir.Model, path: Path) -> None:
    """Writes a model into one .onnx file, without a second copy of its weights in memory.

    Concatenated protobuf messages read as one, merged (https://protobuf.dev/programming-guides/encoding/#last-one-wins):
    the model without weights comes first, then one message for each weight. Raises ExportError above 2 GB.
    """
    skeleton = model.clone()
    weights = list(skeleton.graph.initializers.values())
    size = sum(value.const_value.nbytes for value in weights)
    if size > LIMIT:
        raise ExportError(f"the graph's weights take {size / 1e9:.1f} GB, an ONNX file holds at most 2 GB")
    skeleton.graph.initializers.clear()
    with path.open("wb") as file:
        file.write(ir.serde.serialize_model(skeleton).SerializeToString(deterministic=True))
        for value in weights:
            tensor = value.const_value
            data = tensor.tobytes()
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
