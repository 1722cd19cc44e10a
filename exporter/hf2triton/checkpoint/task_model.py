"""A model with a task's outputs, as torch modules. The reference and the exported graph run the same modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..core.embedding import Normalize, Pooling
from ..core.types import Checkpoint
from ..tasks.base import Endpoint
from .embedding_layers import Normalized, module_of, normalized

#: The submodule whose nodes stay fp32 in an fp16 graph: sums over up to 512 tokens and divisions by lengths.
FULL_PRECISION = "pooling"


class Pool(torch.nn.Module):
    """Token states `[batch, sequence, hidden]` -> embedding `[batch, dim]`, like sentence-transformers."""

    def __init__(self, spec: Pooling) -> None:
        super().__init__()
        self.spec = spec
        self.layers = torch.nn.ModuleList(module_of(layer) for layer in spec.layers)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`mask` `[batch, sequence]`: 1 for the tokens that count."""
        pooled = [self._pooled(mode, states, mask) for mode in self.spec.modes]
        embedding = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)
        for spec, layer in zip(self.spec.layers, self.layers, strict=True):
            # called as a function, so that its nodes keep the name of the pooling
            embedding = normalized(embedding) if isinstance(spec, Normalize) else layer(embedding)
        return embedding if self.spec.truncate_dim is None else embedding[:, : self.spec.truncate_dim]

    def _pooled(self, mode: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if mode == "cls" and self.spec.include_prompt:
            return states[:, 0]  # rows are padded on the right
        return POOLED[mode](states, mask)


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _mean_sqrt_len(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9).sqrt()


def _weighted_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = (mask * _positions(mask)).unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _max(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """0 if no token counts. sentence-transformers returns -inf, which cannot be compared."""
    counts = mask.unsqueeze(-1) > 0
    largest = torch.where(counts, states, torch.finfo(states.dtype).min).amax(dim=1)
    return torch.where(counts.any(dim=1), largest, 0.0)


def _first(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The first token that counts; the row's first token if none does."""
    length = mask.shape[1]
    first = torch.where(mask > 0, _positions(mask) - 1, length).amin(dim=1)
    return _at(states, torch.where(first < length, first, 0))


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last token that counts; 0 if none does."""
    last = (mask * _positions(mask)).amax(dim=1)
    return _at(states, (last - 1).clamp(min=0)) * (last > 0).unsqueeze(-1).to(states.dtype)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """1, 2, 3, … `[1, sequence]`."""
    return torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=mask.dtype).unsqueeze(0)


def _at(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The states of one token in each row, `[batch, hidden]`."""
    return states.gather(1, positions.view(-1, 1, 1).expand(-1, 1, states.shape[-1])).squeeze(1)


#: Pooling mode -> the function that applies it to token states and a mask.
POOLED: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


#: Output -> the function that computes it from the model's outputs.
TAKES: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "logits": lambda outputs: outputs.logits,
    "span_logits": lambda outputs: torch.stack([outputs.start_logits, outputs.end_logits], dim=-1),
    "last_hidden_state": lambda outputs: outputs.last_hidden_state,
    "cls_embedding": lambda outputs: outputs.last_hidden_state[:, 0],
    "pooler_output": lambda outputs: outputs.pooler_output,
}


class TaskModel(torch.nn.Module):
    """A checkpoint's model with the outputs of one part of its task. Takes inputs by position, returns a tuple of tensors.

    The input `mask_positions` (`[batch, masks]`) limits a masked language model's head to these positions; `logits` is then
    `[batch, masks, vocabulary]`. The input `pooling_mask` (`[batch, sequence]`) excludes tokens from an embedding where it is 0.
    """

    def __init__(self, checkpoint: Checkpoint, endpoint: Endpoint) -> None:
        super().__init__()
        self.inputs = graph_inputs(checkpoint, endpoint)
        self.outputs = tuple(output.name for output in checkpoint.outputs[endpoint.suffix])
        self.model = checkpoint.model
        self.projection = None
        self.pooling: torch.nn.Module
        if checkpoint.family.towers:
            tower, projection = checkpoint.family.towers[endpoint.modality]
            self.model, self.projection = getattr(checkpoint.model, tower), getattr(checkpoint.model, projection)
            self.pooling = Normalized()
        elif checkpoint.sentences is not None:
            self.pooling = Pool(checkpoint.sentences.pooling)
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments: dict[str, Any] = dict(zip(self.inputs, tensors, strict=True))
        pooling_mask = arguments.pop("pooling_mask", None)
        with _head_limited_to(self.model, arguments.pop("mask_positions", None)):
            outputs = self.model(**arguments, return_dict=True)
        if self.projection is not None:
            return (self.pooling(self.projection(outputs.pooler_output)),)
        if self.outputs == ("embedding",):
            mask = arguments["attention_mask"]
            mask = mask if pooling_mask is None else mask * pooling_mask
            return (self.pooling(outputs.last_hidden_state, mask),)
        return tuple(TAKES[name](outputs) for name in self.outputs)


def graph_inputs(checkpoint: Checkpoint, endpoint: Endpoint) -> tuple[str, ...]:
    """The names of the graph's inputs, in order."""
    own = checkpoint.family.inputs[endpoint.modality]
    if checkpoint.sentences is not None and not checkpoint.sentences.pooling.include_prompt:
        return (*own, "pooling_mask")
    return (*own, "mask_positions") if any(output.per == "mask" for output in endpoint.outputs) else own


@contextmanager
def _head_limited_to(model: Any, positions: torch.Tensor | None) -> Iterator[None]:
    """Limits a model's head to the states at some positions: `[batch, sequence, hidden]` -> `[batch, masks, hidden]`.

    The head of a masked language model costs as much as several layers, mostly for tokens that are not masked.
    """
    if positions is None:
        yield
        return

    def gather(module: torch.nn.Module, arguments: Any, outputs: Any) -> Any:
        states = outputs.last_hidden_state
        outputs["last_hidden_state"] = states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        return outputs

    base_model: torch.nn.Module = model.base_model
    handle = base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()
