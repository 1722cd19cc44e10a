"""The tables of a benchmark on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from hf2triton_client.loadgen.results import Benchmark, Contender, Load, Measurement
from hf2triton_client.report.model import Report

from .tables import Table

_COLUMNS = ("contender", "threads", "load", "p50 ms", "p90 ms", "p99 ms", "items/s")
_GENERATED = ("tokens/s", "first token ms")
_MORE = ("memory MB", "of PyTorch")


def bench_tables(report: Report) -> list[Table]:
    """A table for each benchmark, and a table of contenders that were missing."""
    tables = [_table(benchmark) for benchmark in report.benchmarks]
    missing = [(name, why) for benchmark in report.benchmarks for name, why in benchmark.missing.items()]
    if missing:
        tables.append(("not measured", ("contender", "why"), list(dict.fromkeys(missing))))
    return tables


def in_words(load: Load) -> str:
    """A load in a few characters: `8 at a time, mixed`, `50/s, batches of 4, 128 tokens`."""
    how = f"{load.rate:g}/s" if load.concurrency is None else f"{load.concurrency} at a time"
    batch = [f"batches of {load.batch_size}"] if load.batch_size > 1 else []
    return ", ".join([how, *batch, "mixed" if load.length is None else f"{load.length} tokens"])


def summary(report: Report) -> str:
    """One line: how the fastest contender through a server compares with PyTorch, and on what machine."""
    machine = report.machine
    where = f"{machine.cpu}, {machine.cores} cores" + "".join(f", {gpu}" for gpu in machine.gpus)
    said = [line for benchmark in report.benchmarks if (line := _best(benchmark))]
    return f"{'; '.join(said) or 'measured'} ({where})"


def relative(benchmark: Benchmark, measurement: Measurement) -> float | None:
    """Items per second, relative to PyTorch's on the CPU under the same load. None if there is no such measurement, and for
    open loops, whose rate is fixed."""
    if measurement.load.rate is not None:
        return None
    for other in benchmark.measurements:
        contender = benchmark.contenders[other.contender]
        if (contender.name, contender.device, other.load) == ("PyTorch", "cpu", measurement.load):
            return measurement.items_per_second / other.items_per_second if other.items_per_second else None
    return None


def _table(benchmark: Benchmark) -> Table:
    generates = any(one.tokens_per_second is not None for one in benchmark.measurements)
    columns = (*_COLUMNS, *(_GENERATED if generates else ()), *_MORE)
    several = len({one.model for one in benchmark.contenders if one.name not in _OF_SOURCE}) > 1
    order = sorted(benchmark.measurements, key=lambda one: _place(benchmark, one))
    rows = [_row(benchmark, one, generates, several) for one in order]
    models = dict.fromkeys(one.model for one in benchmark.contenders)
    title = f"{', '.join(models)}: {benchmark.task}, {benchmark.inputs}"
    rounds = "one round" if benchmark.rounds == 1 else f"medians of {benchmark.rounds} rounds"
    return f"{title}; {rounds} of {benchmark.seconds:g} s", columns, rows


#: Contenders that represent a checkpoint, not an entry made from it.
_OF_SOURCE = ("PyTorch", "torch.compile")


def _place(benchmark: Benchmark, measurement: Measurement) -> tuple[int, int]:
    """The sort key: load by load, with the contenders of each load together."""
    loads = list(dict.fromkeys(one.load for one in benchmark.measurements))
    return loads.index(measurement.load), measurement.contender


def _row(benchmark: Benchmark, measurement: Measurement, generates: bool, several: bool) -> Sequence[object]:
    contender = benchmark.contenders[measurement.contender]
    times = (measurement.p50_ms, measurement.p90_ms, measurement.p99_ms)
    generated = (measurement.tokens_per_second, measurement.first_token_ms) if generates else ()
    memory = None if contender.memory_bytes is None else contender.memory_bytes / 1e6
    ratio = relative(benchmark, measurement)
    return (
        f"{_name(contender, several)}, {contender.precision}",
        contender.threads,
        in_words(measurement.load),
        *(f"{value:.1f}" for value in times),
        f"{measurement.items_per_second:.1f}",
        *("–" if value is None else f"{value:.1f}" for value in generated),
        "?" if memory is None else f"{memory:.0f}",
        "–" if ratio is None else f"{ratio:.2f}",
    )


def _name(contender: Contender, several: bool) -> str:
    model = f", {contender.model}" if several and contender.name not in _OF_SOURCE else ""
    device = "" if contender.device == "cpu" else f" on {contender.device}"
    return f"{contender.name}{device}{model}"


def _best(benchmark: Benchmark) -> str:
    ratios = [
        (ratio, benchmark.contenders[one.contender], one.load)
        for one in benchmark.measurements
        if benchmark.contenders[one.contender].name.startswith("Triton")
        and (ratio := relative(benchmark, one)) is not None
    ]
    if not ratios:
        return ""
    ratio, contender, load = max(ratios, key=lambda one: one[0])
    return f"{contender.model}: {contender.name} does up to {ratio:.2f} of PyTorch's throughput, {in_words(load)}"
