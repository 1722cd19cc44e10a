"""Graphs: whether the release loads them, and whether the config describes them correctly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from ..errors import UnknownName
from ..graph.passes.release import find_release
from .finding import ERROR, NOTE, Problem, Rule
from .models import Lint, Model

#: onnx.TensorProto's types -> config.pbtxt's.
_TYPES = {
    1: pb.TYPE_FP32,
    2: pb.TYPE_UINT8,
    3: pb.TYPE_INT8,
    4: pb.TYPE_UINT16,
    5: pb.TYPE_INT16,
    6: pb.TYPE_INT32,
    7: pb.TYPE_INT64,
    8: pb.TYPE_STRING,
    9: pb.TYPE_BOOL,
    10: pb.TYPE_FP16,
    11: pb.TYPE_FP64,
    12: pb.TYPE_UINT32,
    13: pb.TYPE_UINT64,
    16: pb.TYPE_BF16,
}


def _graphs(model: Model) -> Iterator[tuple[int, str, Any]]:
    """The graphs of the loaded versions: version, location, and the model without its weights or why it cannot be read."""
    try:
        import onnx
    except ModuleNotFoundError:
        return
    for version in model.loaded:
        path = model.graph(version)
        if model.config.default_model_filename:
            path = model.folder / str(version) / model.config.default_model_filename
        if not path.is_file():
            continue
        try:
            found: Any = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's errors depend on its implementation
            found = error
        yield version, str(path.relative_to(model.repository)), found


def unchecked(lint: Lint, model: Model) -> Iterator[Problem]:
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        if any(model.graph(version).is_file() for version in model.loaded):
            yield Problem(model.name, "the graph was not looked at: install hf2triton[export], which brings onnx")


def beyond_release(lint: Lint, model: Model) -> Iterator[Problem]:
    try:
        release = find_release(lint.release(model))
    except UnknownName as error:
        yield Problem(model.name, f"{error}: whether it loads the graph was not checked", NOTE)
        return
    for _, where, graph in _graphs(model):
        if isinstance(graph, Exception):
            yield Problem(where, f"it is not a graph that can be read: {str(graph)[:200]}. Export it again")
        elif release is not None:
            opset = next((one.version for one in graph.opset_import if one.domain in ("", "ai.onnx")), 0)
            for what, value, most in (
                ("IR version", graph.ir_version, release.ir_version),
                ("opset", opset, release.opset),
            ):
                if value > most:
                    yield Problem(
                        where,
                        f"the graph has {what} {value}; onnxruntime {release.onnxruntime} of Triton {release.span} loads at most"
                        f" {most}. Export it with --release {release.first}, or serve it with a later release",
                    )


def differs_from_graph(lint: Lint, model: Model) -> Iterator[Problem]:
    """Checks as strictly as the backend: an input may be narrower than the graph's free dimension; an output must match the
    graph."""
    if model.backend != "onnxruntime":
        return
    batched = model.config.max_batch_size > 0
    for _, where, graph in _graphs(model):
        if isinstance(graph, Exception):
            continue
        weights = {value.name for value in graph.graph.initializer}
        inputs = [value for value in graph.graph.input if value.name not in weights]
        for kind, described, actual in (
            ("input", model.config.input, inputs),
            ("output", model.config.output, graph.graph.output),
        ):
            real = {value.name: value.type.tensor_type for value in actual}
            if kind == "input" and (left_out := sorted(set(real) - {tensor.name for tensor in described})):
                yield Problem(
                    lint.line(model, "input"), f"{where} needs {', '.join(left_out)} as well: list every input"
                )
            for tensor in described:
                if tensor.name not in real:
                    yield Problem(
                        lint.line(model, tensor.name),
                        f"{where} has no {kind} {tensor.name!r}; it has {', '.join(sorted(real))}",
                    )
                    continue
                yield from _differs(lint, model, kind, tensor, real[tensor.name], batched)


def _differs(lint: Lint, model: Model, kind: str, tensor: Any, real: Any, batched: bool) -> Iterator[Problem]:
    where = lint.line(model, tensor.name)
    if _TYPES.get(real.elem_type) != tensor.data_type:
        actual = pb.DataType.Name(_TYPES.get(real.elem_type, pb.TYPE_INVALID))
        given = pb.DataType.Name(tensor.data_type)
        yield Problem(where, f"the {kind} {tensor.name!r} is {given}, and {actual} in the graph: write {actual}")
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in real.shape.dim]
    if batched and (not dims or dims[0] != -1):
        yield Problem(
            where,
            f"max_batch_size is {model.config.max_batch_size}, but the first dimension of the {kind} {tensor.name!r} is"
            f" {dims[0] if dims else 'missing'} in the graph: export it with a free one, or set max_batch_size to 0",
        )
        return
    shape = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
    wanted = [-1] * batched + shape
    fits = len(wanted) == len(dims) and all(
        own == graph or (graph == -1 and kind == "input") for own, graph in zip(wanted, dims, strict=True)
    )
    if not fits:
        yield Problem(
            where,
            f"the {kind} {tensor.name!r} has the shape {wanted}, and {dims} in the graph (-1: free): the backend refuses that."
            f" Write dims {dims[batched:]}",
        )


def missing_graph(lint: Lint, model: Model) -> Iterator[Problem]:
    name = model.config.default_model_filename or "model.onnx"
    for version in model.loaded if model.backend == "onnxruntime" else ():
        path = Path(model.folder / str(version) / name)
        if not path.exists():
            yield Problem(
                f"{model.name}/{version}/{name}",
                "the version has no graph: put it there, or remove the version's folder",
            )


RULES = (
    Rule("graph-missing", ERROR, "model", "a version without a graph", missing_graph),
    Rule("graph-release", ERROR, "model", "an IR version or opset that the release does not load", beyond_release),
    Rule(
        "graph-config", ERROR, "model", "inputs or outputs of the config that are not the graph's", differs_from_graph
    ),
    Rule("graph-unchecked", NOTE, "model", "a graph that was not looked at, for lack of onnx", unchecked),
)
