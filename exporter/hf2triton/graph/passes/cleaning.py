"""Graph → graph: clean-ups that do not change the result, in the order of PASSES."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassError, PassResult, Sequential
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    NameFixPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

from ...core.types import Graph
from ...errors import ExportError
from .values import input_of


class RemoveNeedlessReshapes(InPlacePass):
    """Drops chains of Reshape that end in the shape they start from.

    Models split the heads and the emitted attention joins them again: `[batch, sequence, hidden]` becomes
    `[batch, sequence, heads, head_size]` and then `[batch, sequence, hidden]` again. The pass considers only shapes whose
    dimensions all have a number or a name.
    """

    def call(self, model: ir.Model) -> PassResult:
        modified = False
        for node in model.graph:
            if node.op_type != "Reshape" or node.domain:
                continue
            origin = self._origin(node)
            result = node.outputs[0]
            if origin is not None and not result.is_graph_output():
                ir.convenience.replace_all_uses_with(result, origin)
                modified = True
        return PassResult(model, modified)

    @staticmethod
    def _origin(node: ir.Node) -> ir.Value | None:
        """The value at the start of the chain of reshapes that ends in `node`, if it has the same shape."""
        wanted = _known_shape(node.outputs[0])
        value = node.inputs[0]
        while wanted is not None and value is not None:
            if _known_shape(value) == wanted:
                return value
            producer = value.producer()
            if producer is None or producer.op_type != "Reshape" or producer.domain:
                return None
            value = producer.inputs[0]
        return None


class UnfuseResiduals(InPlacePass):
    """Replaces an Add before a LayerNormalization with a Sum, which computes the same.

    When onnxruntime loads the graph, it fuses Add into SkipLayerNormalization, but not Sum.
    """

    def call(self, model: ir.Model) -> PassResult:
        modified = False
        for node in model.graph:
            if (node.domain, node.op_type) != ("", "LayerNormalization"):
                continue
            residual = input_of(node, 0).producer()
            if residual is not None and (residual.domain, residual.op_type) == ("", "Add"):
                residual.op_type = "Sum"
                modified = True
        return PassResult(model, modified)


def _known_shape(value: ir.Value) -> tuple[int | str, ...] | None:
    """A value's dimensions as numbers and names; None if any dimension has neither."""
    if value.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    known = tuple(dim for dim in dims if dim is not None)
    return known if len(known) == len(dims) else None


#: Run in this order. Metadata is removed because it holds stack traces of the exporting machine.
PASSES = (
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    IdentityEliminationPass(),
    RemoveNeedlessReshapes(),
    CommonSubexpressionEliminationPass(),
    RemoveUnusedNodesPass(),
    DeduplicateInitializersPass(),
    ClearMetadataAndDocStringPass(),
    RemoveUnusedOpsetsPass(),
    TopologicalSortPass(),
    NameFixPass(),
)

# this pass logs a message for each input with a default, which it leaves alone
logging.getLogger("onnx_ir.passes.common.initializer_deduplication").addFilter(
    lambda record: "graph input" not in record.getMessage()
)


def _separate_outputs(graph: Graph) -> None:
    """Gives each output a value and its name again, where two outputs are equal and were merged into one value."""
    outputs = graph.model.graph.outputs
    for index, value in enumerate(outputs):
        if value in outputs[:index]:
            copy = ir.Value(name=graph.outputs[index].name, shape=value.shape, type=value.type)
            graph.model.graph.append(ir.Node("", "Identity", [value], outputs=[copy], name=f"{copy.name}/Identity"))
            outputs[index] = copy


def clean(graph: Graph) -> Graph:
    """Runs PASSES over the graph. Raises ExportError, which names the failed pass and those before it."""
    try:
        Sequential(*PASSES)(graph.model)
    except PassError as error:
        raise ExportError(f"a graph pass failed: {error}") from error
    _separate_outputs(graph)
    graph.model.producer_name, graph.model.producer_version = "hf2triton", None
    graph.model.graph.name = "model"
    return graph
