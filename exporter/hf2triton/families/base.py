"""What differs between architectures, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    logit_scale: the parameter whose exponential multiplies similarities.
    tables: input of the graph, or "positions" -> the end of the name of the weights that it chooses rows of, and the key of
        the config that says how many there are.
    heads: task -> the end of the name of a weight without which its head is not trained. Where labels have names, it has a
        row for each.
    leftover: patterns of weights that a checkpoint may have and no answer depends on: buffers that are computed, layers
        before a head of another task, and heads themselves. They are matched with names that begin after the prefix of the
        model's body.
    image_processor: the one of transformers that prepares its images where the checkpoint's settings do not name one.
    square_images: whether its config gives the size of images and patches as one number.
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
    logit_scale: str | None = None
    tables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    leftover: tuple[str, ...] = ()
    image_processor: str | None = None
    square_images: bool = False
    renamed_modules: tuple[tuple[str, str], ...] = ()

    @property
    def embedding(self) -> str:
        """The last name of the module that gives each token its vector."""
        return self.tables["input_ids"][0].split(".")[-2]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that its checkpoints can serve."""
        headed = [task for tasks in self.architectures.values() for task in tasks]
        return tuple(dict.fromkeys([*headed, *self.headless]))


def table_rows(family: Family, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Table of a family -> the rows it has among weights, which are given by their names and shapes."""
    rows = {}
    for table, (ending, _) in family.tables.items():
        found = [shape for name, shape in shapes.items() if f".{name}".endswith(f".{ending}")]
        if found:
            rows[table] = int(found[0][0])
    return rows
