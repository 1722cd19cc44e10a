"""What all preprocessors have in common: items, their rows, and the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

#: Graph output -> its array for each row of the item, or what `Preprocessor.reduced` made of it.
Outputs = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Item:
    """One question of a caller: its rows, and whatever else its answer needs."""

    rows: Sequence[Any]
    about: Any = None


def joined(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The arrays of an item's rows as one: windows follow each other."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


class Preprocessor(ABC):
    """The interface of all preprocessors. Those in PREPROCESSORS are made from `settings`, the "reader" of front.json, and
    `definition`, the text of tokenizer.json."""

    #: Inputs that callers may send -> whether they are required.
    inputs: ClassVar[Mapping[str, bool]]
    #: Answers made from graph outputs -> these outputs.
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Returns the checked values of a request, one for each item. Raises ValueError."""

    @abstractmethod
    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        """Items of many requests, read together; the error for a value that cannot be read. `wanted`: the requested outputs."""

    def length(self, row: Any) -> int:
        """The cost of a row, in tokens."""
        return len(row)

    def extent(self, row: Any, per: str) -> int | None:
        """How many entries of an output per "token" or per "mask" belong to a row; None for outputs per row."""
        return {"row": None, "token": len(row)}[per]

    @abstractmethod
    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        """The graph's inputs for some rows; `extra` adds columns of padding."""

    def reduced(self, row: Any, outputs: Mapping[str, NDArray[Any]], wanted: Collection[str]) -> Mapping[str, Any]:
        """What is kept of a row's outputs until its item is answered. Must be thread-safe."""
        return outputs

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        """Outputs besides the graph's -> the function that makes them from an item and its graph outputs."""
        return {}
