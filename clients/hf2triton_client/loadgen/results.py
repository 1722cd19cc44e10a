"""The loads and the findings of a benchmark, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Load:
    """The load on a contender. In a closed loop `concurrency` calls are always under way; in an open loop `rate` calls begin per
    second, however long they take. The other field is None.

    `length`: tokens of each text, or None for the mixed lengths of real ones; images have none.
    """

    batch_size: int
    length: int | None
    concurrency: int | None
    rate: float | None = None


@dataclass(frozen=True)
class Contender:
    """What is measured: `name` ("PyTorch", "Triton, gRPC" …), its precision and its device ("cpu", "cuda").

    `model`: the served model it stands for. `threads`: per call. `weight_bytes`: of the graph's or the checkpoint's weights.
    `memory_bytes`: the peak memory of the computing process, if known. `remark`: anything else worth saying.
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
    """How a contender did under a load: medians over the rounds.

    Milliseconds of a call (from its scheduled beginning, in an open loop), and items (texts, images) per second. For generative
    models also tokens per second, and the milliseconds until the first token. `calls` and `errors` are of all rounds.
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
    """Contenders and their measurements; `Measurement.contender` is an index. `seconds`: of each measurement.

    `inputs`: what was sent, in words. `missing`: contenders that could not take part -> why.
    """

    task: str
    inputs: str
    rounds: int
    seconds: float
    contenders: tuple[Contender, ...]
    measurements: tuple[Measurement, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
