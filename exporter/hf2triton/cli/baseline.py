"""`hf2triton baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command
from .data_options import adapter_option, base_name_option, column_option, dataset_option


@click.command()
@click.argument("source")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Ends in .safetensors; a .json is written beside it.",
)
@dataset_option
@column_option
@click.option("--task", help="By default what the checkpoint was trained for.")
@adapter_option
@base_name_option
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, which can run code.")
@command
def baseline(source: str, output: Path, dataset: Path | None, columns: dict[str, str], **options: Any) -> None:
    """Record what PyTorch answers of SOURCE, a checkpoint folder or a hub id, and how right it is.

    `hf2triton validate NAME --baseline FILE` compares a served model with it later, on machines without torch.
    """
    from ..core.options import ExportOptions
    from ..errors import UsageError
    from ..parity.baseline_recorder import record
    from ..validate.validation import beside
    from .console import progress, table
    from .tables import recorded_table

    if output.suffix != ".safetensors":
        raise UsageError(f"{output} should end in .safetensors")
    with progress() as advance:
        recorded = record(ExportOptions(source, output.stem, **options), dataset, columns, advance)
    output.parent.mkdir(parents=True, exist_ok=True)
    for suffix, own in recorded.items():
        own.save(beside(output, suffix))
    table(*recorded_table(source, dataset, recorded))
    click.echo(f"recorded in {', '.join(str(beside(output, suffix)) for suffix in recorded)}")
