"""What all contenders have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from hf2triton_client.loadgen.load import MOST_CALLERS
from hf2triton_client.loadgen.results import Load

from .inputs import Batch
from .job import BenchJob

#: Makes the call with the batch of that index; from several threads.
Call = Callable[[int], object]


class ContenderRunner(ABC):
    """Someone who can be asked, opened for a job in a process of its own. Opening raises Unavailable and the errors of the
    project where that cannot be."""

    #: Calls of an open loop that are under way at the same time.
    most_callers = MOST_CALLERS
    weight_bytes: int | None = None

    def __init__(self, job: BenchJob) -> None:
        self.precision = job.precision
        self.threads = job.threads

    @abstractmethod
    def prepare(self, batches: Sequence[Batch], load: Load) -> AbstractContextManager[Call]:
        """What one load needs, for as long as it is measured."""

    def about(self) -> str:
        """What else there is to say, once all has been measured."""
        return ""


class Direct(ContenderRunner):
    """Those whose calls need nothing prepared."""

    def prepare(self, batches: Sequence[Batch], load: Load) -> AbstractContextManager[Call]:
        return nullcontext(lambda index: self.ask(batches[index]))

    @abstractmethod
    def ask(self, batch: Batch) -> object:
        """One call. A Generated is returned by those that generate."""
