"""The layers after pooling as torch modules, with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..core.embedding import Dense, Layer, LayerNorm, Normalize
from ..errors import WeightsError
from .sentence_layers import require_shapes


class Normalized(torch.nn.Module):
    """Embeddings `[batch, hidden]`, scaled to length 1."""

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return normalized(embedding)


def normalized(embedding: torch.Tensor) -> torch.Tensor:
    norm = torch.sqrt((embedding * embedding).sum(dim=-1, keepdim=True))
    return embedding / norm.clamp(min=1e-12)


class DenseLayer(torch.nn.Module):
    """`[batch, in_features]` -> `[batch, out_features]`, like sentence-transformers' Dense, with the same parameter names."""

    def __init__(self, spec: Dense) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(spec.in_features, spec.out_features, bias=spec.bias)
        self.activation = getattr(torch.nn, spec.activation)()
        self.adds_input = bool(spec.residual)
        self.residual: torch.nn.Module
        if spec.residual == "linear":
            self.residual = torch.nn.Linear(spec.in_features, spec.out_features, bias=False)
        else:
            self.residual = torch.nn.Identity()

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(self.linear(embedding))
        if self.adds_input:
            result = result + self.residual(embedding)
        return result


class NormLayer(torch.nn.Module):
    """`[batch, dimension]` -> the same shape, like sentence-transformers' LayerNorm, with the same parameter names."""

    def __init__(self, spec: LayerNorm) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(spec.dimension)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(embedding)
        return result


_MODULES: Mapping[type, Callable[[Any], torch.nn.Module]] = {Dense: DenseLayer, LayerNorm: NormLayer}


def module_of(layer: Layer) -> torch.nn.Module:
    """A layer in fp32, ready to run. Raises WeightsError."""
    if isinstance(layer, Normalize):
        return Normalized()
    module = _MODULES[type(layer)](layer)
    tensors, expected = _read(layer.weights), module.state_dict()
    shapes = ({name: tuple(tensor.shape) for name, tensor in own.items()} for own in (tensors, expected))
    require_shapes(layer.weights, *shapes)
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        tensors: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise WeightsError(f"{path} does not load: {str(error).strip().splitlines()[0]}") from error
    return tensors
