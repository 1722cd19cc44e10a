"""What a call of a pipeline asks of served models, and what becomes of the answers."""

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
    """What one model is asked: a value of each input for each item, the outputs wanted, the items of one request.

    `versions`: the known ones of the model. `inputs_for`: the inputs for each of them, where they depend on it.
    """

    versions: Versions
    inputs: Inputs
    outputs: Sequence[str]
    batch_size: int
    inputs_for: Callable[[ServedModel], Inputs] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def inputs_of(self, model: ServedModel) -> Inputs:
        """What a version is asked."""
        return self.inputs if self.inputs_for is None else self.inputs_for(model)

    def same_for(self, model: ServedModel, other: ServedModel) -> bool:
        """Whether two versions are asked the same."""
        return self.inputs_for is None or model is other or self.inputs_for(model) == self.inputs_for(other)


@dataclass(frozen=True)
class Call:
    """One call of a pipeline: what is asked, all at the same time, and what makes the result of the rows of each.

    `finish` may give another call, which is then made: its result counts. Each row is read with the settings of the version that
    gave it, `row["model"]`; with `one_version` all rows are of versions whose scores and embeddings can be compared.
    """

    asks: Sequence[Ask]
    finish: Callable[..., Any]
    one_version: bool = False
