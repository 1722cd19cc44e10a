"""`hf2triton bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.options import PRECISIONS
from .common import command, reports_option, repository_option, url_option
from .options import Listed


def _positive(word: str) -> int:
    if int(word) < 1:
        raise ValueError(f"{word} is less than 1")
    return int(word)


def _rate(word: str) -> float:
    if not 0 < float(word) < float("inf"):
        raise ValueError(f"{word} is not a rate above 0")
    return float(word)


def _length(word: str) -> int | None:
    return None if word == "mixed" else _positive(word)


def _precision(word: str) -> str:
    if word not in PRECISIONS:
        raise ValueError(f"{word} is not one of {', '.join(PRECISIONS)}")
    return word


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@url_option
@repository_option
@click.option("--source", help="PyTorch's checkpoint.  [default: what the entry was exported from]")
@click.option("--adapter", help="An adapter that is merged into it.  [default: the entry's]")
@click.option(
    "--precision",
    "precisions",
    type=Listed("precisions", _precision),
    default=(),
    help="Export the source in these first, such as fp32,fp16,int8, and measure them beside each other on a server of"
    " their own.  [default: NAME as it is served at --url]",
)
@click.option(
    "--contender",
    "contenders",
    multiple=True,
    help="pytorch, compile, onnxruntime, grpc or shared-memory; may be given several times.  [default: all but compile]",
)
@click.option(
    "--device",
    "devices",
    type=click.Choice(("cpu", "cuda")),
    multiple=True,
    help="Where those in process run; may be given twice.  [default: on the CPU, and on a GPU if there is one]",
)
@click.option("--compile", is_flag=True, help="Measure torch.compile too.")
@click.option(
    "--concurrency",
    "concurrencies",
    type=Listed("numbers of callers", _positive),
    default="1,8",
    show_default=True,
    help="Closed loops: calls that are always under way.",
)
@click.option(
    "--rate",
    "rates",
    type=Listed("rates", _rate),
    default=(),
    help="Open loops: calls a second that begin at random, whether or not earlier ones have ended.",
)
@click.option("--batch-size", "batch_sizes", type=Listed("batch sizes", _positive), default="1", show_default=True)
@click.option(
    "--length",
    "lengths",
    type=Listed("lengths", _length),
    default="mixed",
    show_default=True,
    help="Tokens of each text, such as 16,128; mixed: real texts as they are.",
)
@click.option("--seconds", type=click.FloatRange(0.05), default=5.0, show_default=True, help="Of each measurement.")
@click.option(
    "--warm-up", type=click.FloatRange(0.0), default=1.0, show_default=True, help="Seconds before it that do not count."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Medians of these are shown.")
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of a call in process, and of what --precision exports; 0 is one for each core.",
)
@reports_option
@command
def bench(reports: tuple[Path, ...], **options: Any) -> None:
    """Measure latency, throughput and memory of NAME, or several, beside PyTorch and ONNX Runtime.

    Each contender runs in a process of its own, and all of them in each round. CUDA's take part where there is a GPU.
    """
    from hf2triton_client.report.io import write_report

    from ..bench.plan import BenchOptions
    from ..bench.run import bench as run
    from .bench_tables import bench_tables, summary
    from .console import progress, table

    with progress() as advance:
        result = run(BenchOptions(**options), advance)
    for path in reports:
        write_report(result, path)
    for title, columns, rows in bench_tables(result):
        table(title, columns, rows)
    for remark in dict.fromkeys(one.remark for benchmark in result.benchmarks for one in benchmark.contenders):
        if remark:
            click.echo(f"remark: {remark}")
    click.echo(summary(result))
