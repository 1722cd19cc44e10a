"""Reports for tests: a realistic one, made in code, and the parts to make others of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hf2triton_client.evaluation.compare import Difference
from hf2triton_client.evaluation.places import Worst
from hf2triton_client.evaluation.results import Check, Scatter, Score, Validation
from hf2triton_client.loadgen.results import Benchmark, Contender, Load, Measurement
from hf2triton_client.report.model import Machine, Report

MACHINE = Machine(
    cpu="A CPU of 2024 @ 2.60GHz",
    cores=8,
    memory_bytes=33_500_000_000,
    system="Linux-6.1-x86_64",
    python="3.11.7",
    packages={"numpy": "1.26.4", "onnxruntime": "1.32.0", "torch": "2.13.0"},
)
#: Contender -> the milliseconds of a call alone, how many it can do at once, and MB of weights and of memory.
_SPEEDS = {
    ("PyTorch", "fp32"): (14.2, 2.0, 90.9, 812.0),
    ("Triton, gRPC", "fp32"): (9.8, 2.6, 90.3, 421.0),
    ("Triton, gRPC", "fp16"): (10.1, 2.6, 45.2, 377.0),
    ("Triton, gRPC", "int8"): (5.3, 3.1, 58.7, 398.0),
}


def difference(
    output: str, largest: float, *breaches: str, argmax: float | None = 1.0, worst: Worst | None = None
) -> Difference:
    return Difference(output, 30, largest, largest / 6, 1 - largest / 1000, argmax, breaches, worst=worst)


def scatter(output: str, noise: float, count: int = 500) -> Scatter:
    random = np.random.default_rng(7)
    pytorch = random.normal(0, 2.2, count)
    served = pytorch + random.normal(0, noise, count)
    return Scatter(output, tuple(pytorch.tolist()), tuple(served.tolist()))


def good() -> Validation:
    names = ("one item a request", "64 items a request, the most", "five items a request, in reverse order")
    return Validation(
        model="sentiment",
        version=3,
        task="text-classification",
        precision="fp16",
        reference="the baseline that was recorded at its export, from ./my-sentiment-bert",
        items=30,
        checks=tuple(Check(name, (difference("logits", 0.0021 + 0.0004 * at),)) for at, name in enumerate(names)),
        scores=(Score("accuracy", 872, 0.9117, 0.9128, 0.005), Score("F1", 872, 0.9094, 0.9101, 0.005)),
        scatters=(scatter("logits", 0.02),),
    )


def bad() -> Validation:
    """A model whose answers differ, with names that break what is not escaped."""
    breach = "largest difference 0.71 is above 0.5"
    worst = Worst(
        12, 'text 12 ("Maria <user> went to | Paris")', 2, (3, 4), "token 3, label 4 (B-<PER>)", "1.234", "0.524"
    )
    return Validation(
        model="tags_<b>&|int8",
        version=1,
        task="token-classification",
        precision="int8",
        reference="the baseline of its export",
        items=30,
        checks=(
            Check("one item a request", (difference("logits", 0.31),)),
            Check(
                "five items a request, in reverse order",
                (difference("logits", 0.71, breach, argmax=0.983, worst=worst),),
            ),
        ),
        scores=(Score("entity F1", 200, 0.861, 0.902, 0.01),),
        scatters=(scatter("logits", 0.35), Scatter("scores", (0.1, 0.5, math.nan), (0.1, 0.52, 0.3))),
    )


def benchmark(factor: float = 1.0, concurrencies: tuple[int, ...] = (1, 8, 32), model: str = "sentiment") -> Benchmark:
    """Calls that take `factor` times as long as usual; four contenders in three precisions."""
    contenders, measurements = [], []
    for place, ((name, precision), (alone, at_once, weights, memory)) in enumerate(_SPEEDS.items()):
        sizes = int(weights * 1e6), int(memory * 1e6)
        contenders.append(Contender(name, model, precision, "cpu", 2, *sizes))
        for concurrency in concurrencies:
            p50 = alone * factor * max(1.0, concurrency / at_once)
            speed = concurrency / p50 * 1e3
            latencies = (p50 * 1.06, p50, p50 * 1.3, p50 * 1.9)
            calls = round(speed * 15)
            measurements.append(Measurement(place, Load(1, None, concurrency), 3, calls, 0, *latencies, speed))
    return Benchmark(
        "text-classification",
        "2,000 real reviews, 32 tokens on average",
        3,
        5.0,
        tuple(contenders),
        tuple(measurements),
        {"ONNX Runtime, GPU": "there is no GPU"},
    )


def report(**changes: object) -> Report:
    """Two validations, one of which failed, and a benchmark."""
    made = Report(
        created_at="2026-09-14T11:02:45+00:00",
        hf2triton="0.1.0",
        machine=MACHINE,
        server="Triton 2.51.0",
        validations=(good(), bad()),
        benchmarks=(benchmark(),),
    )
    return replace(made, **changes)
