"""How token states become embeddings, as torch modules. The reference and the exported graph run the same modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from ..core.embedding import Layer, Normalize, Pooling, Splade
from .embedding_layers import module_of, normalized


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


class Largest(torch.nn.Module):
    """Logits `[batch, sequence, vocabulary]` -> the largest of each entry over the tokens that count, `[batch, vocabulary]`."""

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.where(mask.unsqueeze(-1) > 0, logits, 0.0).amax(dim=1)


class SpladePool(torch.nn.Module):
    """log(1 + relu(logits)), once or twice, like sentence-transformers' SpladePooling: of the largest logits `[batch,
    vocabulary]`, since the logarithm keeps the order, or summed over the tokens of `[batch, sequence, vocabulary]`."""

    def __init__(self, spec: Splade) -> None:
        super().__init__()
        self.sums = spec.strategy == "sum"
        self.times = {"relu": 1, "log1p_relu": 2}[spec.activation]

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = logits.relu()
        for _ in range(self.times):
            weights = weights.log1p()
        return (weights * mask.unsqueeze(-1).to(weights.dtype)).sum(dim=1) if self.sums else weights


class TokenLayers(torch.nn.Module):
    """Layers for the state of each token, `[batch, sequence, hidden]` -> `[batch, sequence, dim]`."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(module_of(layer) for layer in layers)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            states = layer(states)
        return states
