"""A report: the findings of the validations and benchmarks of one run, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..evaluation.results import Validation, all_passed
from ..loadgen.results import Benchmark

#: The version of the JSON's shape.
FORMAT = 1


@dataclass(frozen=True)
class Machine:
    """The machine that something was measured on. `packages`: name -> version."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    gpus: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The findings of one run. `created_at`: ISO 8601, in UTC. `server`: name and version, if a server was asked."""

    created_at: str
    hf2triton: str
    machine: Machine
    server: str = ""
    validations: tuple[Validation, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    format: int = FORMAT

    @property
    def passed(self) -> bool | None:
        """None if nothing was compared with PyTorch, as in a report of a benchmark."""
        return all_passed(validation.passed for validation in self.validations)
