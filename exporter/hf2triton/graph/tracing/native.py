"""Attention of modules that compute it themselves: while a model is traced, they call one of ours instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from ...errors import ExportError
from ...families.base import NativeAttention
from .attention import Attention
from .biases import BIASES, Bias
from .replacing import methods_replaced


@contextmanager
def native_attention_of(model: Any, native: NativeAttention, attention: Attention) -> Iterator[None]:
    """Switches the modules of a model that compute attention to `attention`, and back when the block ends.

    Their mask is made of the body's input `attention_mask`, whatever the model makes of it. Raises ExportError if the model has
    no such modules.
    """
    switched = [module for module in model.modules() if type(module).__name__ == native.module]
    if not switched:
        raise ExportError(
            f"the model has no {native.module}: this version of transformers computes its attention elsewhere"
        )
    body: torch.nn.Module = model.base_model
    masks: list[Any] = []

    def read_mask(module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        arguments = inspect.signature(module.forward).bind(*given, **named).arguments
        masks[:] = [attention.mask(attention_mask=arguments["attention_mask"])]

    handle = body.register_forward_pre_hook(read_mask, with_kwargs=True)
    bias = BIASES[native.bias]
    forwards = {}
    for module in switched:
        kept = bias.prepare(model, module), inspect.signature(module.forward), masks
        # a partial says in its text, unlike a closure, what it computes
        forwards[module] = partial(_forward, native, attention, bias, module, *kept)
    try:
        with methods_replaced(forwards):
            yield
    finally:
        handle.remove()


def _forward(
    native: NativeAttention,
    attention: Attention,
    bias: Bias,
    module: Any,
    prepared: Any,
    signature: inspect.Signature,
    masks: list[Any],
    *given: Any,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """What a module computes instead of its own `forward`, whose arguments, by `signature`, are `given` and `named`."""
    arguments = signature.bind(*given, **named).arguments
    states = arguments["hidden_states"]
    batch, length, _ = states.shape
    heads: int = getattr(module, native.heads)
    query, key, value = (
        getattr(module, name)(states).reshape(batch, length, heads, -1).transpose(1, 2) for name in native.projections
    )
    added = bias.of(prepared, module, query, key, arguments)
    context, _ = attention.function(module, query, key, value, masks[0], bias.scale(module, query), bias=added)
    joined = context.reshape(batch, length, -1)
    return joined if native.output is None else getattr(module, native.output)(joined), None
