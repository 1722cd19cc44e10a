"""`hf2triton export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .common import command, peak_gigabytes, report_option, repository_option
from .options import export_options
from .switches import json_option


@click.command()
@click.argument("source")
@click.option("--name", required=True, help="The name to serve the model under.")
@repository_option
@export_options
@report_option
@json_option
@command
def export(report: Path | None, **options: Any) -> None:
    """Export a checkpoint as a Triton model and check its answers.

    SOURCE is a checkpoint folder, a hub id, or package:NAME/FOLDER for weights in a Python package. Nothing is written
    unless the exported model gives PyTorch's answers; otherwise the exit code is 3.
    """
    from ..core.options import ExportOptions
    from ..errors import ParityError
    from ..export.pipeline import export as run
    from .console import deliver, progress, say, table
    from .tables import export_tables

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        with progress() as advance:
            result = run(ExportOptions(**options), advance)
    except ParityError as error:
        failed = {"parity": error.report.to_json() if error.report else None, "error": str(error)}
        deliver(failed, report)
        raise
    deliver(result.to_json(), report)
    for title, columns, rows in export_tables(result):
        table(title, columns, rows)
    for warning in dict.fromkeys(warning for plan in result.plans.values() for warning in plan.warnings):
        say(f"warning: {warning}")
    where = f"version {result.entry.version} in {result.entry.paths[0]}" if result.entry else "not written (dry run)"
    seconds = sum(result.seconds.values())
    say(f"{options['name']}: {where}, {seconds:.0f} s, {peak_gigabytes():.2f} GB at its peak")
