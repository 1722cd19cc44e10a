"""Methods of a model's modules, replaced while it is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def methods_replaced(
    replacements: Mapping[torch.nn.Module, Callable[..., Any]], name: str = "forward"
) -> Iterator[None]:
    """Lets modules compute with these functions instead of their methods called `name`, until the block ends."""
    for module, function in replacements.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for module in replacements:
            delattr(module, name)  # the class's own is there again
