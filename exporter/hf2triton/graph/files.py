"""Graphs on disk, written one weight at a time."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from ..errors import ExportError

#: What one protobuf message can hold.
LIMIT = (1 << 31) - 1
#: Protobuf field numbers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.graph,
#: GraphProto.initializer and TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


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
