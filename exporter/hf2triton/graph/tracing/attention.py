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
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from ...errors import ExportError

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


class Masks(NamedTuple):
    """A fused attention's mask in two parts: of keys, for padding; and of pairs of queries and keys, added to the scores,
    `[1, 1, sequence, sequence]`."""

    keys: torch.Tensor | None
    window: torch.Tensor


def _fused(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | Masks | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Emits MultiHeadAttention. `query`, `key`, `value`: `[batch, heads, sequence, head_size]`. `bias`: `[batch or 1, heads or 1,
    sequence, sequence]`, added to the scaled scores."""
    if isinstance(attention_mask, Masks):
        attention_mask, window = attention_mask
        bias = window if bias is None else bias + window
    batch, heads, sequence, head_size = query.shape
    hidden = heads * head_size
    joined = [tensor.transpose(1, 2).reshape(batch, tensor.shape[2], hidden) for tensor in (query, key, value)]
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", False)
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        _without_trailing_none([*joined, None, attention_mask, bias]),
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


def _without_trailing_none(inputs: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    while inputs[-1] is None:
        inputs = inputs[:-1]
    return inputs


def standard(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(query · keyᵀ · scale + bias + mask) · value, in standard ops."""
    scale: float = scaling if scaling is not None else query.shape[-1] ** -0.5
    # scale the query: unscaled scores would overflow fp16 sooner
    scores = (query * scale) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    if attention_mask is not None:
        scores = scores + attention_mask.to(query.dtype)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2), None


def _row_lengths(attention_mask: torch.Tensor) -> torch.Tensor:
    """The key padding mask in its 1-D form `[3 · batch + 2]`: key lengths, then cumulative query and key lengths.

    Rows must be padded on the right. On CUDA, this form reaches a fused kernel at any length. A fully masked row keeps one key:
    CUDA's kernels would otherwise divide by zero.
    """
    batch, sequence = attention_mask.shape
    lengths = attention_mask.sum(dim=1).clamp(min=1).to(torch.int32)
    starts = torch.arange(batch + 1, dtype=torch.int32) * sequence
    starts = starts.to(torch.int32)
    return torch.cat([lengths, starts, starts])


def _any_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """The key padding mask in its 2-D form `[batch, sequence]`: any position of a row may be masked."""
    return attention_mask.to(torch.int32)


def _in_two_parts(of_keys: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor | Masks | None]:
    """The mask function of a fused attention: padding as `of_keys` writes it, and a window if the layer has one. Images have no
    padding. The op itself is causal if its module is."""

    def mask(
        *_: Any, attention_mask: torch.Tensor | None, mask_function: Callable[..., Any] | None = None, **more: Any
    ) -> torch.Tensor | Masks | None:
        keys = None if attention_mask is None else of_keys(attention_mask)
        if mask_function is causal_mask_function:
            return keys
        allowed = _allowed(mask_function, attention_mask, **more)
        return keys if allowed is None else Masks(keys, torch.where(allowed, 0.0, MASKED))

    return mask


def _additive(
    *_: Any, attention_mask: torch.Tensor | None, mask_function: Callable[..., Any] | None = None, **more: Any
) -> torch.Tensor | None:
    """`[batch or 1, 1, 1 or sequence, sequence]`: 0 where a query may look, MASKED at padding and where the mask function does
    not allow it, such as at later positions if it is causal."""
    allowed = _allowed(mask_function, attention_mask, **more)
    if attention_mask is None:
        return None if allowed is None else torch.where(allowed, 0.0, MASKED)
    kept = attention_mask[:, None, None, :].to(torch.float32)
    if allowed is not None:
        kept = kept * allowed.to(torch.float32)
    return (1.0 - kept) * MASKED


def _allowed(
    mask_function: Callable[..., Any] | None,
    attention_mask: torch.Tensor | None,
    q_length: int | None = None,
    q_offset: int = 0,
    kv_offset: int = 0,
    use_vmap: bool = False,
    **_: Any,
) -> torch.Tensor | None:
    """`[1, 1, sequence, sequence]`: where a mask function of transformers lets queries look; None if everywhere.

    Raises ExportError for a function that looks at more than positions: its answer would be another for each row or head.
    """
    refused = ExportError("the model masks attention in a way that a graph cannot have: not by positions alone")
    if use_vmap or q_offset or kv_offset:
        raise refused
    if mask_function is None or mask_function is bidirectional_mask_function:
        return None
    length = q_length if attention_mask is None else attention_mask.shape[1]
    if length is None:
        raise refused
    positions = torch.arange(length)
    queries, keys = positions[None, None, :, None], positions[None, None, None, :]
    try:
        # rows and heads are not there to be looked at
        allowed: torch.Tensor = mask_function(None, None, queries, keys)
    except (TypeError, IndexError) as error:
        raise ExportError(f"the model masks attention by more than positions: {error}") from error
    if allowed.ndim != 4 or allowed.shape[0] != 1 or allowed.shape[1] != 1:
        raise ExportError("the model masks attention by more than positions: each row or head in its own way")
    return allowed


ATTENTIONS = {
    attention.name: attention
    for attention in (
        Attention("fused", _fused, _in_two_parts(_row_lengths), contrib=True),
        Attention("fused-any-mask", _fused, _in_two_parts(_any_mask), contrib=True),
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


@contextmanager
def no_masks_for(model: Any, registered_name: str) -> Iterator[None]:
    """Like `attention_of` for a model with native attention, which refuses other implementations: it then makes no masks."""
    before = model.config._attn_implementation
    model.config._attn_implementation = registered_name
    try:
        yield
    finally:
        model.config._attn_implementation = before
