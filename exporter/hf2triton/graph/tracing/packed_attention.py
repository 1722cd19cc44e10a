"""PyTorch's own `MultiheadAttention`, which some models pool images with, written as the layers are.

It keeps three weights as one. Split in the graph, they would not be constants, which int8 needs. And it would be in plain ops,
whatever form of attention was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear

from .attention import Attention
from .replacing import methods_replaced

_PARTS = ("query", "key", "value")


@contextmanager
def attention_unpacked(model: torch.nn.Module, attention: Attention) -> Iterator[None]:
    """Lets these modules compute with three weights and in this form, until the block ends. Others than the usual kind, with
    keys of their own or of other sizes, stay as they are."""
    parts = [part for part in model.modules() if isinstance(part, torch.nn.MultiheadAttention) and _is_usual(part)]
    for part in parts:
        for name, weight, bias in zip(_PARTS, part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3), strict=True):
            part.register_buffer(f"{name}_weight", weight.detach().clone(), persistent=False)
            part.register_buffer(f"{name}_bias", bias.detach().clone(), persistent=False)
    try:
        with methods_replaced({part: _forward(part, attention.function) for part in parts}):
            yield
    finally:
        for part in parts:
            for name in _PARTS:
                del part._buffers[f"{name}_weight"], part._buffers[f"{name}_bias"]


def _is_usual(part: torch.nn.MultiheadAttention) -> bool:
    packed = part.in_proj_weight is not None and part.in_proj_bias is not None
    return packed and part.batch_first and part.bias_k is None and not part.add_zero_attn


def _forward(part: torch.nn.MultiheadAttention, attend: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*given: torch.Tensor) -> tuple[torch.Tensor, None]:
        """`given`: query, key and value, `[batch, sequence, hidden]`."""
        heads = []
        for name, tensor in zip(_PARTS, given, strict=True):
            projected = linear(tensor, getattr(part, f"{name}_weight"), getattr(part, f"{name}_bias"))
            split = projected.reshape(*projected.shape[:2], part.num_heads, part.head_dim)
            heads.append(split.transpose(1, 2))
        output, _ = attend(part, *heads, None, scaling=part.head_dim**-0.5, is_causal=False)
        return part.out_proj(output.flatten(2)), None

    return forward
