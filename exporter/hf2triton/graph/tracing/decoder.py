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

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from transformers.pytorch_utils import Conv1D

from ...core.types import Graph, GraphInput, GraphOutput
from ...errors import ExportError, SourceError, UnknownName
from ..passes.initializers import add_initializer
from ..passes.values import input_of, name_of, producer_of, shape_of
from .attention import attention_of
from .decoder_attention import DECODER_ATTENTIONS, DecoderStates
from .encoder import MOST_ROWS, example_of, free_axes, traced

if TYPE_CHECKING:
    from transformers import GPT2Config, GPT2LMHeadModel

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
    """A GPT-2 with its past and present as tensors, in the order of the graph's inputs and outputs."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        states = DecoderStates(past, attention_mask)
        # `states` a second time: the model passes unknown arguments on to the attention function
        hidden = self.model.transformer(
            input_ids=input_ids, position_ids=position_ids, past_key_values=states, use_cache=True, states=states
        ).last_hidden_state
        present = [tensor for layer in sorted(states.present) for tensor in states.present[layer]]
        return (self.model.lm_head(hidden), *present)


def export_decoder(model: GPT2LMHeadModel, attention: str, opset: int) -> Graph:
    """Exports a GPT-2 with its language-modelling head in fp32; `attention` is one of DECODER_ATTENTIONS.

    Raises ExportError, SourceError for a model that attends to an encoder, and UnknownName for `attention`.
    """
    if attention not in DECODER_ATTENTIONS:
        raise UnknownName("attention of a decoder", attention, DECODER_ATTENTIONS)
    config = model.config
    head_size = config.n_embd // config.n_head
    if attention == "fused" and head_size % FUSED_MULTIPLE:
        raise ExportError(
            f"fused attention takes heads whose size is a multiple of {FUSED_MULTIPLE}, and these have {head_size}: use"
            " --attention standard"
        )
    if config.add_cross_attention:
        raise SourceError("the model attends to an encoder (add_cross_attention in its config), which is not supported")
    inputs, outputs, state = _interface(config)
    names = [value.name for value in inputs]
    with attention_of(model, DECODER_ATTENTIONS[attention].registered_name), _plain_products(model):
        shapes = _free_axes(inputs, config.n_positions, attention)
        exported = traced(DecoderModule(model), example_of(inputs, _EXAMPLE), shapes, names, list(outputs), opset)
    graph = exported.graph
    dims = {value.name: value.dims for value in inputs} | outputs
    for value in (*graph.inputs, *graph.outputs):
        value.shape = ir.Shape(dims[name_of(value)])
    if model.lm_head.weight is model.transformer.wte.weight:
        _tie_head(graph)
    _keep_some_logits(graph)
    full_precision = _scores(graph) if config.reorder_and_upcast_attn else frozenset()
    logits = GraphOutput("logits", "token", (config.vocab_size,))
    return Graph(
        exported,
        inputs,
        (logits,),
        attention,
        full_precision=full_precision,
        state=state,
        shares_buffer=DECODER_ATTENTIONS[attention].shares_buffer,
    )


def _interface(config: GPT2Config) -> tuple[tuple[GraphInput, ...], dict[str, tuple[int | str, ...]], dict[str, str]]:
    """The graph's inputs, the dimensions of its outputs by name, and for each state input the output that is its next value."""
    heads, head_size = config.n_head, config.n_embd // config.n_head
    inputs = [
        GraphInput("input_ids", "INT64", ("batch", "sequence")),
        GraphInput("attention_mask", "INT64", ("batch", "total")),
        GraphInput("position_ids", "INT64", ("batch", "sequence")),
    ]
    outputs: dict[str, tuple[int | str, ...]] = {"logits": ("batch", "sequence", config.vocab_size)}
    state = {}
    for layer in range(config.n_layer):
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


@contextmanager
def _plain_products(model: torch.nn.Module) -> Iterator[None]:
    """Makes GPT-2's Conv1D multiply and add directly, instead of flattening rows first and restoring them afterwards."""
    # Any: mypy refuses assignments to methods
    layers: list[Any] = [module for module in model.modules() if isinstance(module, Conv1D)]
    for layer in layers:
        layer.forward = partial(_product, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _product(layer: Conv1D, states: torch.Tensor) -> torch.Tensor:
    return states @ layer.weight + layer.bias


def _tie_head(graph: ir.Graph) -> None:
    """Makes the head read the embedding's table; in small models the exporter makes a transposed copy of it."""
    # the exporter names a shared parameter after one of its owners
    names = ("model.lm_head.weight", "model.transformer.wte.weight")
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
