"""What all kinds of readers have in common: items, their rows, and how a reader is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Graph output -> one array for each row of the item.
Outputs = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class Item:
    """One thing that was asked: its rows, and what else its answer needs."""

    rows: Sequence[Any]
    about: Any = None


def joined(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The arrays of an item's rows as one: windows follow each other."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


class Preprocessor(ABC):
    """What all kinds have in common. `settings` are the "reader" of front.json; `definition` a tokenizer.json's text."""

    #: Inputs that callers may send -> whether they must.
    inputs: Mapping[str, bool]
    #: Answers that are made of graph outputs -> those that they are made of.
    made_of: Mapping[str, tuple[str, ...]] = {}

    @abstractmethod
    def values(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        """The items of one request, as sent and checked. Raises ValueError."""

    @abstractmethod
    def items(self, values: Sequence[Any], wanted: Collection[str]) -> list[Item | ValueError]:
        """Items of many requests, read together; one that cannot be read gives its error. `wanted`: outputs asked for."""

    def length(self, row: Any) -> int:
        """What a row costs, in tokens."""
        return len(row)

    def extent(self, row: Any, per: str) -> int | None:
        """How many entries of an output per "token" or per "mask" are a row's own; None for outputs per row."""
        return {"row": None, "token": len(row)}[per]

    @abstractmethod
    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, NDArray[Any]]:
        """The graph's inputs for some rows; `extra` adds columns of padding."""

    def reduced(self, row: Any, outputs: Mapping[str, NDArray[Any]], wanted: Collection[str]) -> Mapping[str, Any]:
        """What is kept of a row's outputs until its item is answered. Must not use what is not safe for several threads."""
        return outputs

    def answers(self) -> Mapping[str, Callable[[Item, Outputs], NDArray[Any]]]:
        """Outputs beside the graph's -> what makes an item's of the item and the graph's outputs."""
        return {}
