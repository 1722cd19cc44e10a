"""What differs between architectures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """One architecture.

    `name`: its `model_type` in config.json. `inputs`: the graph's inputs in order, each int64 `[batch, sequence]`.
    `architectures`: class name in config.json -> the task its head serves. `max_positions`: the config's key for the
    longest sequence. `base_arguments`: for loading the model without a head.
    """

    name: str
    inputs: tuple[str, ...]
    architectures: Mapping[str, str]
    max_positions: str = "max_position_embeddings"
    base_arguments: Mapping[str, Any] = field(default_factory=dict)
