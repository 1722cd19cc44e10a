"""Attention's bias, repeated for each row and head: onnxruntime before 1.20 reads another shape wrongly, or refuses it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from .initializers import add_initializer
from .values import BIAS, input_of, name_of, shares_bias


class RepeatBias(InPlacePass):
    """Expands each shared bias to `[batch, heads, sequence, sequence]`, once for all nodes that read it."""

    def call(self, model: ir.Model) -> PassResult:
        repeated: dict[ir.Value, ir.Value] = {}
        for node in list(model.graph):
            if node.op_type == "MultiHeadAttention" and shares_bias(node):
                bias = input_of(node, BIAS)
                if bias not in repeated:
                    repeated[bias] = self._repeated(model.graph, node, bias)
                node.replace_input_with(BIAS, repeated[bias])
        return PassResult(model, bool(repeated))

    @staticmethod
    def _repeated(graph: ir.Graph, node: ir.Node, bias: ir.Value) -> ir.Value:
        name, query, heads = name_of(bias), input_of(node, 0), node.attributes.get_int("num_heads")
        count = add_initializer(graph, ir.Tensor(np.array([heads, 1, 1]), name=f"{name}_heads"))
        tape = ir.tape.Tape()
        batch = tape.op("Shape", [query], {"start": 0, "end": 1}, name=f"Shape_{name}")
        wanted = tape.op("Concat", [batch, count], {"axis": 0}, name=f"Concat_{name}")
        length = None if query.shape is None else query.shape[1]
        rows = None if query.shape is None else query.shape[0]
        output = ir.Value(name=f"{name}_repeated", shape=ir.Shape([rows, heads, length, length]), type=bias.type)
        tape.op("Expand", [bias, wanted], name=f"Expand_{name}", output=output)
        graph.insert_before(node, tape.nodes)
        return output
