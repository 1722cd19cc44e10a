"""`hf2triton baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command
from .data_options import adapter_option, base_name_option, column_option, dataset_option
from .switches import json_option


@click.command()
@click.argument("source")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The .safetensors file to write. A .json file is written next to it.",
)
@dataset_option
@column_option
@click.option("--task", help="The task of the model.  [default: the one it was trained for]")
@adapter_option
@base_name_option
@click.option("--revision", help="A branch, tag or commit, if SOURCE is a hub id.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, which can run code.")
@json_option
@command
def baseline(source: str, output: Path, dataset: Path | None, columns: dict[str, str], **options: Any) -> None:
    """Record PyTorch's answers, to validate against later.

    SOURCE is a checkpoint folder or a hub id. With labelled data, the baseline also has PyTorch's scores. Afterwards,
    `hf2triton validate NAME --baseline FILE` compares a served model with the baseline, on machines without torch.
    """
    from ..core.options import ExportOptions
    from ..errors import UsageError
    from ..parity.baseline_recorder import record
    from ..validate.validation import beside
    from .console import document, progress, say, table
    from .tables import recorded_json, recorded_table

    if output.suffix != ".safetensors":
        raise UsageError(f"{output} should end in .safetensors")
    with progress() as advance:
        recorded = record(ExportOptions(source, output.stem, **options), dataset, columns, advance)
    output.parent.mkdir(parents=True, exist_ok=True)
    files = {suffix: str(beside(output, suffix)) for suffix in recorded}
    for suffix, own in recorded.items():
        own.save(Path(files[suffix]))
    result = recorded_json(source, dataset, recorded, files)
    table(*recorded_table(result))
    say(f"recorded in {', '.join(files.values())}")
    document(result)
