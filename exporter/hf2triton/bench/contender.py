"""The common part of all contenders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from hf2triton_client.loadgen.load import MOST_CALLERS
from hf2triton_client.loadgen.results import Load

from .inputs import Batch
from .job import BenchJob

#: Makes the call with the batch of that index. Called from several threads.
Call = Callable[[int], object]


class ContenderRunner(ABC):
    """A contender that can be asked. It is opened for a job in its own process. Opening raises Unavailable and the errors of
    the project if the contender cannot run."""

    #: Calls of an open loop that are under way at the same time.
    most_callers = MOST_CALLERS
    weight_bytes: int | None = None

    def __init__(self, job: BenchJob) -> None:
        self.precision = job.precision
        self.threads = job.threads

    @abstractmethod
    def prepare(self, batches: Sequence[Batch], load: Load) -> AbstractContextManager[Call]:
        """Prepares one load, for as long as it is measured."""

    def about(self) -> str:
        """Further remarks, once everything has been measured."""
        return ""


class Direct(ContenderRunner):
    """Contenders whose calls need no preparation."""

    def prepare(self, batches: Sequence[Batch], load: Load) -> AbstractContextManager[Call]:
        return nullcontext(lambda index: self.ask(batches[index]))

    @abstractmethod
    def ask(self, batch: Batch) -> object:
        """One call. Generating contenders return a Generated."""
