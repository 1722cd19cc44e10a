"""`hf2triton bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.options import PRECISIONS
from .common import command, reports_option, repository_option
from .completion import entry_names
from .options import Listed
from .server_options import ServerOptions, asks_server
from .switches import json_option


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
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=entry_names)
@asks_server()
@repository_option
@click.option("--source", help="The checkpoint that PyTorch runs.  [default: the source of the entry]")
@click.option("--adapter", help="The LoRA adapter to merge into the checkpoint.  [default: the adapter of the entry]")
@click.option(
    "--precision",
    "precisions",
    type=Listed("precisions", _precision),
    default=(),
    metavar="PRECISIONS",
    help="Export the source in these precisions, such as fp32,fp16,int8, and compare them on a new server.  [default: NAME as"
    " it is served at --url]",
)
@click.option(
    "--contender",
    "contenders",
    multiple=True,
    help="What to measure: pytorch, compile, onnxruntime, grpc or shared-memory. Repeatable.  [default: all but compile]",
)
@click.option(
    "--device",
    "devices",
    type=click.Choice(("cpu", "cuda")),
    multiple=True,
    help="Where pytorch, compile and onnxruntime run. Repeatable.  [default: on the CPU, and on a GPU if there is one]",
)
@click.option("--compile", is_flag=True, help="Also measure torch.compile.")
@click.option(
    "--concurrency",
    "concurrencies",
    type=Listed("numbers of callers", _positive),
    default="1,8",
    show_default=True,
    metavar="NUMBERS",
    help="Closed loops: this many calls are always in flight.",
)
@click.option(
    "--rate",
    "rates",
    type=Listed("rates", _rate),
    default=(),
    metavar="RATES",
    help="Open loops: this many calls per second start at random times, even if earlier calls have not ended.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=Listed("batch sizes", _positive),
    default="1",
    show_default=True,
    metavar="SIZES",
    help="Inputs of each call.",
)
@click.option(
    "--length",
    "lengths",
    type=Listed("lengths", _length),
    default="mixed",
    show_default=True,
    metavar="LENGTHS",
    help="Tokens of each text, such as 16,128, or mixed for real texts of different lengths.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.05), default=5.0, show_default=True, help="Seconds of each measurement."
)
@click.option(
    "--warm-up",
    type=click.FloatRange(0.0),
    default=1.0,
    show_default=True,
    help="Seconds of calls before each measurement that are not counted.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Rounds of measurements. The report shows their medians.",
)
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Threads of a call in pytorch, compile, onnxruntime and --precision. 0 means one for each core.",
)
@reports_option
@json_option
@command
def bench(server: ServerOptions, reports: tuple[Path, ...], **options: Any) -> None:
    """Measure latency, throughput and memory next to PyTorch.

    bench compares the served model NAME with PyTorch, ONNX Runtime and other models. Each of these contenders runs in a
    separate process, once in each round.
    """
    from hf2triton_client.report.io import require_form, write_report
    from hf2triton_client.report.json_form import to_json

    from ..bench.plan import BenchOptions
    from ..bench.run import bench as run
    from .bench_tables import bench_tables, summary
    from .console import document, progress, say, table

    for path in reports:
        require_form(path)
    asked = BenchOptions(**options, url=server.address, headers=server.headers)
    if asked.precisions:
        server.refuse_beside("--precision")
    else:
        server.wait_for(asked.names)
    with progress() as advance:
        result = run(asked, advance)
    for path in reports:
        write_report(result, path)
    document(to_json(result))
    for title, columns, rows in bench_tables(result):
        table(title, columns, rows)
    for remark in dict.fromkeys(one.remark for benchmark in result.benchmarks for one in benchmark.contenders):
        if remark:
            say(f"remark: {remark}")
    say(summary(result))
