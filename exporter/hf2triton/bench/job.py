"""The job of a child process and its result: JSON through its stdin and stdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hf2triton_client.loadgen.load import Sample
from hf2triton_client.loadgen.results import Load

#: Input of a frontend -> its value for each item. Texts of each length are sent in this form.
Inputs = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class JobSource:
    """The checkpoint behind an entry. `digests` and `adapter_digests`: of the files it was exported from; None if the user
    named another source, which need not be the same."""

    given: str
    revision: str | None
    task: str
    suffix: str
    digests: Mapping[str, str] | None
    adapter: str | None = None
    adapter_digests: Mapping[str, str] | None = None


@dataclass(frozen=True)
class BenchJob:
    """One contender's share of a round: all its loads in turn.

    `contender`: a key of CONTENDERS. `folder`: the folder of the frontend's version. `graph`: the graph's file. `threads`: of
    one call, never 0.
    `of_length`: number of tokens, as a string -> inputs of exactly that length. Mixed inputs are those of the baseline in
    `folder`. `headers`: sent with each call to a server.
    """

    contender: str
    device: str
    model: str
    precision: str
    folder: str
    graph: str
    url: str
    source: JobSource
    threads: int
    loads: tuple[Load, ...]
    seconds: float
    warm_up: float
    round: int
    of_length: Mapping[str, Inputs] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> BenchJob:
        loads = tuple(Load(**load) for load in given["loads"])
        return cls(**{**given, "source": JobSource(**given["source"]), "loads": loads})


@dataclass(frozen=True)
class JobResult:
    """The measurements of a child, for each load of its job, in order. `missing`: why it could not take part; "" if it did.

    `process`: its process id. `memory_bytes`: its peak memory, which does not include a server's memory.
    """

    process: int = 0
    precision: str = ""
    threads: int = 0
    weight_bytes: int | None = None
    memory_bytes: int | None = None
    remark: str = ""
    samples: tuple[Sample, ...] = ()
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> JobResult:
        return cls(**{**given, "samples": tuple(Sample(**sample) for sample in given["samples"])})


class Unavailable(Exception):
    """A contender cannot take part here. The message says why."""
