"""The findings of validations, as frozen data: `report/io.py` writes them as JSON and reads them again."""

from __future__ import annotations

from dataclasses import dataclass

from .baseline import Latency
from .compare import Difference


@dataclass(frozen=True)
class Check:
    """One way of asking, and how far each output was from PyTorch."""

    name: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return all(difference.passed for difference in self.differences)


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
    def passed(self) -> bool:
        if self.pytorch is None:
            return self.served == self.served  # not NaN
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

    `reference`: whose answers it was compared with, in words. `items`: the number of inputs. `pytorch_latency`: of PyTorch in
    fp32, as recorded with its answers; `served_latency`: through the server, if measured; both for one item (or one generated
    text) at a time.
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
    pytorch_latency: Latency | None = None
    served_latency: Latency | None = None

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks) and all(score.passed for score in self.scores)
