"""The findings of validations, as frozen data: `report/io.py` writes them as JSON and reads them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .compare import Difference
from .latency import Latency


def all_passed(results: Iterable[bool | None]) -> bool | None:
    """Whether everything that was compared passed; None if nothing was compared."""
    compared = [one for one in results if one is not None]
    return all(compared) if compared else None


@dataclass(frozen=True)
class Check:
    """One way of asking, and how far each output was from PyTorch."""

    name: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool | None:
        return all_passed(difference.passed for difference in self.differences)


@dataclass(frozen=True)
class Score:
    """A metric over labelled rows: `served` is the served model's value, `pytorch` is PyTorch's on the same rows (None if
    unknown).

    `allowed`: how much worse the served model may be. `higher_is_better` is false for perplexity.
    """

    name: str
    rows: int
    served: float
    pytorch: float | None = None
    allowed: float = 0.0
    higher_is_better: bool = True

    @property
    def passed(self) -> bool | None:
        """None if PyTorch's value is unknown, so there is nothing to compare with; a NaN never passes."""
        if self.served != self.served:
            return False
        if self.pytorch is None:
            return None
        loss = self.pytorch - self.served if self.higher_is_better else self.served - self.pytorch
        return loss <= self.allowed


@dataclass(frozen=True)
class Scatter:
    """Values of an output, evenly drawn: PyTorch's and the served ones, of equal length."""

    output: str
    pytorch: tuple[float, ...]
    served: tuple[float, ...]


@dataclass(frozen=True)
class Validation:
    """The checks of one served model (a frontend) against PyTorch, its scores on a labelled file, and values to plot.

    `reference`: whose answers it was compared with, in words. `items`: the number of inputs. `served_latency`: through the
    server, for one item (or one generated text) at a time, if measured.
    """

    model: str
    version: int
    task: str
    precision: str
    reference: str
    items: int
    checks: tuple[Check, ...]
    scores: tuple[Score, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    served_latency: Latency | None = None

    @property
    def results(self) -> tuple[Check | Score, ...]:
        return (*self.checks, *self.scores)

    @property
    def compared(self) -> int:
        """The number of checks and scores that were compared with PyTorch."""
        return sum(one.passed is not None for one in self.results)

    @property
    def passed(self) -> bool | None:
        return all_passed(one.passed for one in self.results)
