"""What validations and benchmarks find, as frozen data: written as JSON and read again by `report.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .baseline import Latency
from .compare import Difference

#: The version of the JSON's shape.
FORMAT = 1


@dataclass(frozen=True)
class Check:
    """One way of asking: which, and how far each output was from PyTorch."""

    name: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return all(difference.passed for difference in self.differences)


@dataclass(frozen=True)
class Score:
    """A metric over labelled rows: `served` is what the served model reaches, `pytorch` what PyTorch did on the same rows
    (None: not known).

    `allowed`: by how much the served model may be worse. `higher_is_better` is false for perplexity.
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
    """Values of an output, evenly drawn: what PyTorch gave and what was served, of equal length."""

    output: str
    pytorch: tuple[float, ...]
    served: tuple[float, ...]


@dataclass(frozen=True)
class Validation:
    """The checks of one served model (a front) against PyTorch, its scores on a labelled file, and values to be drawn.

    `reference`: whose answers it was compared with, in words. `items`: how many inputs were asked. `pytorch_latency`: of
    PyTorch in fp32, as recorded with its answers; `served_latency`: through the server, where it was measured; both of one
    item (or one text that is generated) at a time.
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
        return all(found.passed for found in (*self.checks, *self.scores))


@dataclass(frozen=True)
class Load:
    """What is asked of a contender. In a closed loop `concurrency` calls are always under way, in an open loop `rate` calls
    a second begin, however long they take; the other one is None.

    `length`: tokens of each text, or None for the mixed lengths of real ones; images have none.
    """

    batch_size: int
    length: int | None
    concurrency: int | None
    rate: float | None = None


@dataclass(frozen=True)
class Contender:
    """Who is measured: `name` ("PyTorch", "Triton, gRPC" …), with which precision and on which device ("cpu", "cuda").

    `model`: the served model it stands for. `threads`: of one call. `weight_bytes`: of the graph's or the checkpoint's weights.
    `memory_bytes`: the most that the process took which computes, where that is known. `remark`: anything else there is to say.
    """

    name: str
    model: str
    precision: str
    device: str
    threads: int
    weight_bytes: int | None = None
    memory_bytes: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a contender did under a load: medians over the rounds.

    Milliseconds of a call (from its scheduled beginning, in an open loop), and items (texts, images) a second. Of models that
    generate also tokens a second, and the milliseconds until the first token. `calls` and `errors` are of all rounds.
    """

    contender: int
    load: Load
    rounds: int
    calls: int
    errors: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    items_per_second: float
    tokens_per_second: float | None = None
    first_token_ms: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """Contenders, and what was measured of each; `Measurement.contender` is an index. `seconds`: of each measurement.

    `inputs`: what was sent, in words. `missing`: contender that could not take part -> why.
    """

    task: str
    inputs: str
    rounds: int
    seconds: float
    contenders: tuple[Contender, ...]
    measurements: tuple[Measurement, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """Where something was measured. `packages`: name -> version."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    gpus: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What was found in one run. `created_at`: ISO 8601, in UTC. `server`: name and version, where one was asked."""

    created_at: str
    hf2triton: str
    machine: Machine
    server: str = ""
    validations: tuple[Validation, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        return all(validation.passed for validation in self.validations)
