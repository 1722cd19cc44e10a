"""What differs between architectures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """One architecture.

    name: its `model_type` in config.json.
    inputs: modality ("text", "image") -> the graph's inputs in order.
    architectures: class name in config.json -> the tasks its head serves, the usual one first.
    headless: the tasks that any of its checkpoints serves.
    max_positions: the config's key for the longest sequence.
    configs: modality -> the part of the config that describes it, where it has parts.
    base_arguments: for loading the model without a head.
    pooler: the beginning of the names of its pooling layer's weights, where that serves a task; a checkpoint may lack them.
    towers: modality -> the modules that encode and then project it, where the model has one tower for each.
    embedding: the last name of the module that gives each token its vector.
    logit_scale: the parameter whose exponential multiplies similarities.
    renamed_modules: (pattern, replacement) from the module names of transformers 5 to those of 4, for adapters that were
        trained with the latter; see adapter_names.py.
    """

    name: str
    inputs: Mapping[str, tuple[str, ...]]
    architectures: Mapping[str, tuple[str, ...]]
    headless: tuple[str, ...] = ()
    max_positions: str = "max_position_embeddings"
    configs: Mapping[str, str] = field(default_factory=dict)
    base_arguments: Mapping[str, Any] = field(default_factory=dict)
    pooler: str | None = None
    towers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    embedding: str = "word_embeddings"
    logit_scale: str | None = None
    renamed_modules: tuple[tuple[str, str], ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that its checkpoints can serve."""
        headed = [task for tasks in self.architectures.values() for task in tasks]
        return tuple(dict.fromkeys([*headed, *self.headless]))
