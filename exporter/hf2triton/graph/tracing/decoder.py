"""Causal language model → one graph for both prompts and steps: past keys and values in, present ones out.

| input                            | dims                              | |
|----------------------------------|-----------------------------------|-|
| `input_ids`, `position_ids`      | batch, sequence                   | the new tokens and their positions |
| `attention_mask`                 | batch, total                      | 1 for each position of a row, including new ones |
| `past_key_values.N.key`/`.value` | batch, heads, past, head size     | of layer N |
| `logits_from`                    | 1                                 | optional, see `LOGITS_FROM` |

| output                           | dims                              | |
|----------------------------------|-----------------------------------|-|
| `logits`                         | batch, kept, vocabulary           | fp32; kept = sequence unless `logits_from` is given |
| `present.N.key`/`.value`         | batch, heads, total, head size    | past and new |

Past and present are the graph's state and have its precision. With "fused" attention, rows are padded on the right, each row's
new keys directly follow its past, and past and present may be bound to one buffer that is longer than `total`. Several new
tokens with a past (a chunk of a prompt) need a separate call for each row. With "standard" attention, `total` is
`past + sequence`, present is a new tensor, and any position of a row may be masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from transformers.pytorch_utils import Conv1D

from ...core.types import Graph, GraphInput, GraphOutput
from ...errors import ExportError, SourceError, UnknownName
from ...families import DecoderSpec
from ..passes.initializers import add_initializer
from ..passes.values import input_of, name_of, producer_of, shape_of
from .attention import attention_of, no_masks_for
from .decoder_attention import DECODER_ATTENTIONS, DecoderAttention, DecoderStates
from .encoder import MOST_ROWS, example_of, free_axes, traced
from .replacing import methods_replaced

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

#: An optional input (int64 `[1]`): the first new position that gets logits, as in a Python slice. 0, the default, returns all and
#: -1 the last; `sequence` or more returns none and costs nothing. Without it, onnxruntime computes an output even if nobody
#: fetches it (https://github.com/microsoft/onnxruntime/issues/16013). Only `bind_ortvalue_input` of IO binding accepts it, and
#: onnxruntime logs a remark about it when it loads the graph.
LOGITS_FROM = "logits_from"
#: onnxruntime's GroupQueryAttention needs a head size that is a multiple of this, but reports it only when it runs.
FUSED_MULTIPLE = 8
#: The size of each free axis in the example. The sizes differ from each other, and from 0 and 1, which are specialised.
_EXAMPLE = {"batch": 2, "sequence": 5, "past": 3, "total": 3 + 5}


class DecoderModule(torch.nn.Module):
    """A model with its past and present as tensors, in the order of the graph's inputs and outputs."""

    def __init__(self, model: PreTrainedModel, spec: DecoderSpec, attention: DecoderAttention) -> None:
        super().__init__()
        self.model = model
        self._spec = spec
        self._attention = attention
        self._windows = tuple(spec.windows(model.config))
        self.eval()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        states = DecoderStates(past, attention_mask, self._windows)
        with self._attention.replacing(self._spec, self.model, states):
            # `states` a second time: the model passes unknown arguments on to the attention function
            hidden = self.model.base_model(
                input_ids=input_ids, position_ids=position_ids, past_key_values=states, use_cache=True, states=states
            ).last_hidden_state
        head: Any = self.model.get_output_embeddings()
        present = [tensor for layer in sorted(states.present) for tensor in states.present[layer]]
        return (head(hidden), *present)


def export_decoder(model: PreTrainedModel, spec: DecoderSpec, attention: str, opset: int) -> Graph:
    """Exports a causal language model in fp32; `spec`: its family's, `attention`: one of DECODER_ATTENTIONS.

    Raises ExportError, SourceError for a model that the family does not support, and UnknownName for `attention`.
    """
    if attention not in DECODER_ATTENTIONS:
        raise UnknownName("attention of a decoder", attention, DECODER_ATTENTIONS)
    chosen, config = DECODER_ATTENTIONS[attention], model.config
    head_size = config.hidden_size // config.num_attention_heads
    if attention == "fused" and head_size % FUSED_MULTIPLE:
        raise ExportError(
            f"fused attention takes heads whose size is a multiple of {FUSED_MULTIPLE}, and these have {head_size}: use"
            " --attention standard"
        )
    for key, why in spec.unsupported.items():
        if getattr(config, key):
            raise SourceError(f"{why} ({key} in its config), which is not supported")
    inputs, outputs, state = _interface(config)
    names = [value.name for value in inputs]
    switched = no_masks_for if spec.attention_method else attention_of
    with switched(model, chosen.registered_name), methods_replaced(_plain_products(model.base_model)):
        shapes = _free_axes(inputs, config.max_position_embeddings, attention)
        module = DecoderModule(model, spec, chosen)
        exported = traced(module, example_of(inputs, _EXAMPLE), shapes, names, list(outputs), opset)
    graph = exported.graph
    dims = {value.name: value.dims for value in inputs} | outputs
    for value in (*graph.inputs, *graph.outputs):
        value.shape = ir.Shape(dims[name_of(value)])
    _tie_head(graph, model)
    _keep_some_logits(graph)
    full_precision = _scores(graph) if spec.fp32_scores(config) else frozenset()
    logits = GraphOutput("logits", "token", (config.vocab_size,))
    return Graph(
        exported,
        inputs,
        (logits,),
        attention,
        full_precision=full_precision,
        state=state,
        shares_buffer=chosen.shares_buffer,
    )


def _interface(
    config: PreTrainedConfig,
) -> tuple[tuple[GraphInput, ...], dict[str, tuple[int | str, ...]], dict[str, str]]:
    """The graph's inputs, the dimensions of its outputs by name, and for each state input the output that is its next value."""
    heads, head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    inputs = [
        GraphInput("input_ids", "INT64", ("batch", "sequence")),
        GraphInput("attention_mask", "INT64", ("batch", "total")),
        GraphInput("position_ids", "INT64", ("batch", "sequence")),
    ]
    outputs: dict[str, tuple[int | str, ...]] = {"logits": ("batch", "sequence", config.vocab_size)}
    state = {}
    for layer in range(config.num_hidden_layers):
        for kind in ("key", "value"):
            past, present = f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}"
            inputs.append(GraphInput(past, "FLOAT", ("batch", heads, "past", head_size)))
            outputs[present] = ("batch", heads, "total", head_size)
            state[past] = present
    return tuple(inputs), outputs, state


def _free_axes(inputs: tuple[GraphInput, ...], longest: int, attention: str) -> tuple[Any, ...]:
    """The free axes of each input, as `torch.export` takes them; the past keys and values are one argument."""
    axes = {
        "batch": torch.export.Dim("batch", min=1, max=MOST_ROWS),
        "sequence": torch.export.Dim("sequence", min=1, max=longest),
        "past": torch.export.Dim("past", min=0, max=longest),
        # with standard attention it is the sum of two other axes, and a name cannot express that
        "total": torch.export.Dim.AUTO if attention == "standard" else torch.export.Dim("total", min=1, max=longest),
    }
    shapes = free_axes(inputs, axes)
    return (*shapes[:3], tuple(shapes[3:]))


def _plain_products(body: torch.nn.Module) -> dict[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """Layer of a body -> a forward that multiplies and adds directly. Conv1D would flatten rows first and restore them
    afterwards, and a Linear that gets flattened rows would become a Gemm, which is not quantized."""
    return {module: partial(_product, module) for module in body.modules() if type(module) in _WEIGHTS}


#: Kind of layer -> its weight, `[in, out]`.
_WEIGHTS: Mapping[type, Callable[[Any], torch.Tensor]] = {
    Conv1D: lambda layer: layer.weight,
    torch.nn.Linear: lambda layer: layer.weight.T,
}


def _product(layer: Any, states: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = states @ _WEIGHTS[type(layer)](layer)
    return product if layer.bias is None else product + layer.bias


def _tie_head(graph: ir.Graph, model: PreTrainedModel) -> None:
    """Makes a tied head read the embedding's table; in small models the exporter makes a transposed copy of it."""
    embeddings: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    if output.weight is not embeddings.weight:
        return
    # the exporter names a shared parameter after one of its owners
    names = [
        f"model.{name}" for name, weight in model.named_parameters(remove_duplicate=False) if weight is output.weight
    ]
    [table] = [graph.initializers[name] for name in names if name in graph.initializers]
    head = producer_of(graph.outputs[0])
    shape = ir.Shape(shape_of(table)[::-1])
    transposed = ir.Value(name="lm_head.weight_transposed", shape=shape, type=table.type)
    graph.insert_before(
        head, ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], outputs=[transposed], name="tied_head")
    )
    head.replace_input_with(1, transposed)


def _keep_some_logits(graph: ir.Graph) -> None:
    """Adds the input `LOGITS_FROM`, with its default, and a Slice before the head."""
    logits = graph.outputs[0]
    head = producer_of(logits)
    hidden = input_of(head, 0)
    start, end, axis = (
        _integers(graph, name, [value])
        for name, value in ((LOGITS_FROM, 0), ("logits_end", np.iinfo(np.int64).max), ("logits_axis", 1))
    )
    graph.inputs.append(start)
    batch, _, size = shape_of(hidden)
    kept = ir.Value(name="kept_states", shape=ir.Shape((batch, "kept", size)), type=hidden.type)
    graph.insert_before(head, ir.Node("", "Slice", [hidden, start, end, axis], outputs=[kept], name="keep_some"))
    head.replace_input_with(0, kept)
    logits.shape = ir.Shape((batch, "kept", shape_of(logits)[2]))


def _integers(graph: ir.Graph, name: str, values: list[int]) -> ir.Value:
    """A new int64 initializer."""
    return add_initializer(graph, ir.Tensor(np.array(values, np.int64), name=name))


def _scores(graph: ir.Graph) -> frozenset[str]:
    """The names of the nodes that compute the attention weights: reorder_and_upcast_attn requires them in fp32.

    The fused op always computes sums and softmax in fp32.
    """
    names: set[str] = set()
    for node in graph:
        if node.op_type == "Softmax":
            masked = producer_of(input_of(node, 0))
            names |= {name_of(scores) for scores in (node, masked, producer_of(input_of(masked, 0)))}
    return frozenset(names)
