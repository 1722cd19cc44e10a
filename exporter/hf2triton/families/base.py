"""What differs between architectures, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

#: The longest sequence as most configs have it.
MAX_POSITION_EMBEDDINGS: Callable[[Any], int] = attrgetter("max_position_embeddings")


def positions_after_padding(config: Any) -> int:
    """The longest sequence of models whose positions start behind the index of the padding token."""
    longest: int = config.max_position_embeddings - config.pad_token_id - 1
    return longest


@dataclass(frozen=True)
class Family:
    """One architecture.

    name: its `model_type` in config.json.
    inputs: modality ("text", "image") -> the graph's inputs in order.
    architectures: class name in config.json -> the tasks that its head serves, the usual one first.
    headless: the tasks that every checkpoint serves, with any head or none.
    max_positions: the config of texts -> the longest sequence.
    attention: "interface" if its layers call transformers' `AttentionInterface`; "native" if they compute attention themselves,
        which the graph then has in plain ops.
    configs: modality -> the part of the config that describes it, if the config has parts.
    base_arguments: arguments for loading the model without a head.
    pooler: the prefix of the names of the pooling layer's weights, if that layer serves a task; a checkpoint may lack them.
    towers: modality -> the modules that encode and then project it, if the model has a tower for each.
    logit_scale: the parameter whose exponential multiplies similarities.
    tables: input of the graph, or "positions" -> the ending of the name of the weights whose rows it selects, and the config's
        key for their number.
    heads: task -> the ending of the name of a weight that every trained head has. If labels have names, it has a row for each.
    leftover: patterns of weights that a checkpoint may have but no answer depends on: computed buffers, layers before a head of
        another task, and heads themselves. They match names without the prefix of the model's body.
    image_processor: the image processor of transformers to use if the checkpoint's settings name none.
    square_images: whether its config states the size of images and patches as one number.
    renamed_modules: (pattern, replacement) from the module names of transformers 5 to those of 4, for adapters that were
        trained with version 4; see checkpoint/adapters/names.py.
    """

    name: str
    inputs: Mapping[str, tuple[str, ...]]
    architectures: Mapping[str, tuple[str, ...]]
    headless: tuple[str, ...] = ()
    max_positions: Callable[[Any], int] = MAX_POSITION_EMBEDDINGS
    attention: str = "interface"
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
        """The last component of the name of the token embeddings' module."""
        return self.tables["input_ids"][0].split(".")[-2]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that checkpoints of the family can serve."""
        headed = [task for tasks in self.architectures.values() for task in tasks]
        return tuple(dict.fromkeys([*headed, *self.headless]))


def table_rows(family: Family, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Table of a family -> its number of rows, for the tables in `shapes` (weight name -> shape)."""
    rows = {}
    for table, (ending, _) in family.tables.items():
        found = [shape for name, shape in shapes.items() if f".{name}".endswith(f".{ending}")]
        if found:
            rows[table] = int(found[0][0])
    return rows
