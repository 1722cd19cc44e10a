"""Positions that a model resizes to the size of its images.

A graph takes images of one size. So PyTorch resizes the positions once, and the graph has them as they are then: ONNX's cubic
Resize gives other numbers, and would run in every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from .replacing import methods_replaced

#: The method with which transformers' models resize their positions, and the name of what it returned.
_METHOD, _BUFFER = "interpolate_pos_encoding", "resized_positions"


@contextmanager
def positions_resized(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Iterator[None]:
    """Lets each part of a model that resizes positions return those that it resized for `example`, until the block ends."""
    parts = [part for part in module.modules() if hasattr(part, _METHOD)]
    try:
        with methods_replaced({part: _recording(part) for part in parts}, _METHOD), torch.no_grad():
            module(*example)
        with methods_replaced({part: _repeating(part) for part in parts}, _METHOD):
            yield
    finally:
        for part in parts:
            part._buffers.pop(_BUFFER, None)


def _recording(part: torch.nn.Module) -> Callable[..., torch.Tensor]:
    resize = getattr(part, _METHOD)

    def record(*arguments: object) -> torch.Tensor:
        positions: torch.Tensor = resize(*arguments)
        part.register_buffer(_BUFFER, positions.detach().clone(), persistent=False)
        return positions

    return record


def _repeating(part: torch.nn.Module) -> Callable[..., torch.Tensor]:
    return lambda *_: getattr(part, _BUFFER)
