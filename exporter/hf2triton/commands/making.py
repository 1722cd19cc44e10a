"""Commands that make entries of a repository."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import click

from .common import command, report_option, repository_option


@click.command()
@click.argument("source")
@click.option("--name", required=True, help="The name to serve the model under.")
@click.option("--task", help="Named as transformers.pipeline names it; by default what the checkpoint was trained for.")
@click.option("--adapter", help="A folder with a LoRA adapter, merged into SOURCE. SOURCE may be such a folder itself.")
@click.option("--base-name", help="What the adapter calls SOURCE, where its own name does not tell.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp16", show_default=True)
@repository_option
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where Triton runs it."
)
@click.option("--runner", type=click.Choice(["inprocess", "bls"]), help="Graph in the front, or in a model of its own.")
@click.option("--release", help="Fit the graph to a Triton release, such as 24.08.  [default: any from 24.05 on]")
@click.option(
    "--attention",
    type=click.Choice(["fused", "fused-any-mask", "standard"]),
    default="fused",
    show_default=True,
    help="standard: no ops beyond ONNX's own.",
)
@click.option(
    "--max-batch-size",
    type=int,
    help="Rows or images that are computed at once, or sequences that are generated at once.  [default: 64, or 8 sequences]",
)
@click.option(
    "--instances", type=int, default=1, show_default=True, help="How many times the model that computes is loaded."
)
@click.option(
    "--threads", type=int, default=0, show_default=True, help="Of onnxruntime; 0 is one for each core it may use."
)
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="What ranges are measured on: a file with a text a line, a folder of images, or an .npz of the graph's tensors."
    "  [default: real ones that come with hf2triton]",
)
@click.option(
    "--precision-plan",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the nodes fp32 that this plan, manifest or report names, instead of calibrating.",
)
@click.option(
    "--largest-file",
    type=click.IntRange(1, (1 << 31) - 1),
    default=(1 << 31) - 1,
    help="Bytes of weights in the graph's own file; more lie beside it.  [default: 2 GB, the most]",
)
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, which can run code.")
@report_option
@click.option("--dry-run", is_flag=True, help="Do everything but write into the repository.")
@command
def export(report: Path | None, **options: Any) -> None:
    """Export SOURCE, a checkpoint folder, a hub id or package:NAME/FOLDER, into a model repository.

    Nothing is written unless the exported model gives PyTorch's answers; otherwise the exit code is 3.
    """
    from ..artifacts import ExportOptions
    from ..console import progress, table, write_report
    from ..errors import ParityError
    from ..pipeline import export as run
    from ..tables import export_tables

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        with progress() as advance:
            result = run(ExportOptions(**options), advance)
    except ParityError as error:
        write_report(report, {"parity": error.report.to_json() if error.report else None, "error": str(error)})
        raise
    write_report(report, result.to_json())
    for title, columns, rows in export_tables(result):
        table(title, columns, rows)
    for warning in dict.fromkeys(warning for plan in result.plans.values() for warning in plan.warnings):
        click.echo(f"warning: {warning}")
    where = f"version {result.entry.version} in {result.entry.paths[0]}" if result.entry else "not written (dry run)"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB
    click.echo(f"{options['name']}: {where}, {sum(result.seconds.values()):.0f} s, {peak:.2f} GB at its peak")
