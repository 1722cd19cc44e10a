"""Attention, emitted directly as the op we want instead of being recognised afterwards.

transformers can register attention functions (`AttentionInterface`) and functions that make their masks
(`AttentionMaskInterface`); a model switched to such an implementation calls it in every layer. The fused kinds emit
`com.microsoft::MultiHeadAttention`
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention). In eager
PyTorch that op returns zeros, so the fused kinds are only for tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function

#: Added to the scores of masked positions before softmax. It is far below any real score, fits fp16, and keeps a fully masked
#: row finite.
MASKED = -1e4


@dataclass(frozen=True)
class Attention:
    """One way of writing attention. `contrib`: needs ops from onnxruntime's contrib domain."""

    name: str
    function: Callable[..., Any]
    mask: Callable[..., Any]
    contrib: bool

    @property
    def registered_name(self) -> str:
        return f"hf2triton-{self.name}"


def _fused(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Emits MultiHeadAttention. `query`, `key`, `value`: `[batch, heads, sequence, head_size]`."""
    batch, heads, sequence, head_size = query.shape
    hidden = heads * head_size
    joined = [tensor.transpose(1, 2).reshape(batch, tensor.shape[2], hidden) for tensor in (query, key, value)]
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", False)
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [*joined, None, attention_mask] if attention_mask is not None else joined,
        attrs={
            "num_heads": heads,
            "scale": float(scaling if scaling is not None else head_size**-0.5),
            **({"unidirectional": 1} if causal else {}),
        },
        dtype=query.dtype,
        shape=(batch, sequence, hidden),
        version=1,
    )
    return output.reshape(batch, sequence, heads, head_size), None


def standard(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(query · keyᵀ · scale + mask) · value, in standard ops."""
    scale: float = scaling if scaling is not None else query.shape[-1] ** -0.5
    # scale the query: unscaled scores would overflow fp16 sooner
    scores = (query * scale) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask.to(query.dtype)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2), None


def _row_lengths(*_: Any, attention_mask: torch.Tensor | None, **__: Any) -> torch.Tensor | None:
    """The key padding mask in its 1-D form `[3 · batch + 2]`: key lengths, then cumulative query and key lengths.

    Rows must be padded on the right. On CUDA, this form reaches a fused kernel at any length. A fully masked row keeps one key:
    CUDA's kernels would otherwise divide by zero.
    """
    if attention_mask is None:  # images have no padding
        return None
    batch, sequence = attention_mask.shape
    lengths = attention_mask.sum(dim=1).clamp(min=1).to(torch.int32)
    starts = torch.arange(batch + 1, dtype=torch.int32) * sequence
    starts = starts.to(torch.int32)
    return torch.cat([lengths, starts, starts])


def _any_mask(*_: Any, attention_mask: torch.Tensor | None, **__: Any) -> torch.Tensor | None:
    """The key padding mask in its 2-D form `[batch, sequence]`: any position of a row may be masked."""
    return None if attention_mask is None else attention_mask.to(torch.int32)


def _additive(
    *_: Any, attention_mask: torch.Tensor | None, mask_function: Callable[..., Any] | None = None, **__: Any
) -> torch.Tensor | None:
    """`[batch, 1, 1 or sequence, sequence]`: 0 where a query may look, MASKED at padding and, if causal, at later positions."""
    if attention_mask is None:
        return None
    allowed = attention_mask[:, None, None, :].to(torch.float32)
    if mask_function is causal_mask_function:
        positions = torch.arange(attention_mask.shape[1])
        allowed = allowed * (positions[:, None] >= positions[None, :]).to(torch.float32)
    return (1.0 - allowed) * MASKED


ATTENTIONS = {
    attention.name: attention
    for attention in (
        Attention("fused", _fused, _row_lengths, contrib=True),
        Attention("fused-any-mask", _fused, _any_mask, contrib=True),
        Attention("standard", standard, _additive, contrib=False),
    )
}
for _attention in ATTENTIONS.values():
    AttentionInterface.register(_attention.registered_name, _attention.function)
    AttentionMaskInterface.register(_attention.registered_name, _attention.mask)


@contextmanager
def attention_of(model: Any, registered_name: str) -> Iterator[None]:
    """Switches a model to a registered attention, and back when the block ends."""
    before = model.config._attn_implementation
    # the model passes the name on to the configs of its towers
    model.set_attn_implementation(registered_name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
