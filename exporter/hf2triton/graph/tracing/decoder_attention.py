"""Attention of a decoder: reads the keys and values of earlier calls (past) and returns them with the new ones (present).

Each kind is an attention function for transformers' `AttentionInterface`. It has no mask function, so transformers makes no mask
(https://github.com/huggingface/transformers/blob/main/src/transformers/masking_utils.py, `_preprocess_mask_arguments`).
Instead, the functions read the rows' mask from the `states` that the decoder passes on. In families with native attention they
take the place of the layers' own method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import AttentionInterface

from ...families import DecoderSpec
from .attention import MASKED, standard
from .replacing import methods_replaced


class DecoderStates:
    """Stands in for transformers' cache: collects each layer's present and keeps nothing between calls.

    `past`: keys and values in turn, `[batch, heads, past, head_size]`. `attention_mask`: `[batch, total]`, 1 for each position of
    a row, including those of this call. `windows`: as in DecoderSpec. `layer`: the index of the one that is being computed.
    """

    def __init__(
        self, past: Sequence[torch.Tensor], attention_mask: torch.Tensor, windows: Sequence[int | None]
    ) -> None:
        self.past = past
        self.attention_mask = attention_mask
        self.windows = windows
        self.layer = -1
        self.present: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._masks: dict[int | None, torch.Tensor] = {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the new keys and values unchanged; a layer calls it before its attention function, which takes only these.
        transformers 5.24 passes further arguments."""
        self.layer = layer
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """The length of the past. Some models ask for it even if they are given positions."""
        return self.past[0].shape[2]

    @property
    def window(self) -> int | None:
        """How far the layer looks back."""
        return self.windows[self.layer]

    @property
    def own_past(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's past keys and values."""
        return self.past[2 * self.layer], self.past[2 * self.layer + 1]

    def keep(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Takes the layer's present keys and values."""
        self.present[self.layer] = key, value

    @cached_property
    def last_positions(self) -> torch.Tensor:
        """`[batch]`: each row's length minus one."""
        return (self.attention_mask.sum(dim=1) - 1).to(torch.int32)

    @cached_property
    def total(self) -> torch.Tensor:
        """A scalar: the length of the longest row."""
        return torch.scalar_tensor(self.attention_mask.shape[1], dtype=torch.int32)

    @property
    def additive_mask(self) -> torch.Tensor:
        """`[batch, 1, sequence, total]`: 0 where a query of the layer may look, MASKED elsewhere."""
        if self.window not in self._masks:
            self._masks[self.window] = self._additive(self.window)
        return self._masks[self.window]

    def _additive(self, window: int | None) -> torch.Tensor:
        """Masks padding, later positions, and those before the window."""
        total, past = self.attention_mask.shape[1], self.past[0].shape[2]
        columns = torch.arange(total)
        queries = columns[past:]
        allowed = (columns[None, :] <= queries[:, None]).to(torch.float32)
        if window is not None:
            # a row's positions, which padding between its past and its new tokens does not count
            positions = self.attention_mask.cumsum(dim=1)
            near = positions[:, None, :] > positions[:, past:, None] - window
            allowed = allowed * near[:, None].to(torch.float32)
        return (1.0 - self.attention_mask[:, None, None, :].to(torch.float32) * allowed) * MASKED


def _grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    states: DecoderStates,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Emits GroupQueryAttention
    (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention),
    which appends a row's keys and values directly to its past, in place if past and present are one buffer.

    `query`, `key`, `value`: `[batch, heads, sequence, head_size]`. The op returns zeros in eager PyTorch.
    """
    batch, heads, sequence, head_size = query.shape
    hidden = heads * head_size
    joined = [tensor.transpose(1, 2).reshape(batch, sequence, hidden) for tensor in (query, key, value)]
    kept = (batch, heads, states.attention_mask.shape[1], head_size)
    output, present_key, present_value = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        [*joined, *states.own_past, states.last_positions, states.total],
        attrs={
            "num_heads": heads,
            "kv_num_heads": heads,
            "scale": float(scaling if scaling is not None else head_size**-0.5),
            **({"local_window_size": states.window} if states.window is not None else {}),
        },
        dtypes=(query.dtype,) * 3,
        shapes=((batch, sequence, hidden), kept, kept),
        version=1,
    )
    states.keep(present_key, present_value)
    return output.reshape(batch, sequence, heads, head_size), None


def _concatenated(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    states: DecoderStates,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over past and new keys, in standard ops."""
    past_key, past_value = states.own_past
    key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
    states.keep(key, value)
    return standard(module, query, key, value, states.additive_mask, scaling)


@dataclass(frozen=True)
class DecoderAttention:
    """One way of writing a decoder's attention. `shares_buffer`: past and present may share memory."""

    name: str
    function: Callable[..., Any]
    shares_buffer: bool

    @property
    def registered_name(self) -> str:
        return f"hf2triton-decoder-{self.name}"

    def replacing(self, spec: DecoderSpec, model: Any, states: DecoderStates) -> AbstractContextManager[None]:
        """Makes the layers of a model with native attention call the function, for one call of the model with `states`."""
        name = spec.attention_method
        layers = [module for module in model.modules() if hasattr(module, name)] if name else []

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
            output, weights = self.function(None, query, key, value, None, spec.scaling, states=states)
            return output.transpose(1, 2), weights

        return methods_replaced(dict.fromkeys(layers, attend), name)


DECODER_ATTENTIONS = {
    attention.name: attention
    for attention in (
        DecoderAttention("fused", _grouped, shares_buffer=True),
        DecoderAttention("standard", _concatenated, shares_buffer=False),
    )
}
for _attention in DECODER_ATTENTIONS.values():
    AttentionInterface.register(_attention.registered_name, _attention.function)
