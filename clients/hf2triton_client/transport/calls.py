"""What a pipeline's call asks of served models, and how the answers become its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .served_model import ServedModel
from .versions import Versions

#: A value of each input for each item.
Inputs = Mapping[str, Sequence[str | bytes]]


@dataclass(frozen=True)
class Ask:
    """A question to one model: a value of each input for each item, the wanted outputs, and the number of items per request.

    `versions`: the model's known versions. `inputs_for`: the inputs for a version, if they depend on it.
    """

    versions: Versions
    inputs: Inputs
    outputs: Sequence[str]
    batch_size: int
    inputs_for: Callable[[ServedModel], Inputs] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def inputs_of(self, model: ServedModel) -> Inputs:
        """The inputs for a version."""
        return self.inputs if self.inputs_for is None else self.inputs_for(model)

    def same_for(self, model: ServedModel, other: ServedModel) -> bool:
        """Whether two versions get the same inputs."""
        return self.inputs_for is None or model is other or self.inputs_for(model) == self.inputs_for(other)


@dataclass(frozen=True)
class Call:
    """One call of a pipeline: questions that are asked at the same time, and `finish`, which turns their rows into the result.

    `finish` may return another call, whose result then counts. Each row is read with the settings of the version that answered,
    `row["model"]`. With `one_version`, all rows come from versions whose scores and embeddings can be compared.
    """

    asks: Sequence[Ask]
    finish: Callable[..., Any]
    one_version: bool = False
