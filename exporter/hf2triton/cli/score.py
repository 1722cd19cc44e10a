"""`hf2triton score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, report_option, repository_option
from .completion import entry_names
from .data_options import labels_option, pipeline_option
from .server_options import ServerOptions, asks_server, serve_option
from .switches import json_option


def _columns(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Our name -> the input's name; "" for the task's first column, if a column is given alone."""
    parted = (one.partition("=") if "=" in one else ("", "", one) for one in given)
    return {name: column for name, _, column in parted}


@click.command()
@click.argument("name", shell_complete=entry_names)
@click.argument("input", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@asks_server()
@serve_option
@repository_option
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds that a call may take."
)
@click.option("--task", help="The task of the answers.  [default: the task of the model]")
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="[NAME=]COLUMN",
    help="The name of a column in INPUT, such as review, or text_pair=question2. Repeatable.",
)
@click.option(
    "--id", metavar="COLUMN", help="The column that identifies a row.  [default: the column id, else the row number]"
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="Copy this column to OUTPUT. Repeatable.")
@labels_option
@pipeline_option
@click.option("--batch-size", type=click.IntRange(1), help="Rows of each call.  [default: 32 texts, 8 images]")
@click.option(
    "--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Calls in flight at the same time."
)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Rows that are written together. A run that is stopped loses at most these.",
)
@click.option("--restart", is_flag=True, help="Discard the results of an earlier run, and replace OUTPUT.")
@click.option("--allow-errors", is_flag=True, help="Exit with 0 even if rows have no answer.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Score with Ray Data, on this machine (local) or on a cluster (auto or ray://HOST:PORT) whose machines see INPUT and"
    " OUTPUT under the same paths.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="The number of Ray actors.  [default: one for each CPU of the cluster]"
)
@report_option
@json_option
@command
def score(
    server: ServerOptions, serve: bool, repository: Path, allow_errors: bool, report: Path | None, **options: Any
) -> None:
    """Answer all rows of a large file with a served model.

    score asks the model NAME about the rows of INPUT, and writes the answers to OUTPUT in the same order. INPUT is a .jsonl or
    .parquet file, a folder of such files, or a folder of images. OUTPUT is a .jsonl or .parquet file. If a run is stopped, run
    the same command again to continue. If rows have no answer, the exit code is 1, and their column error has the reason.
    """
    from ..batch_scoring import ScoreOptions
    from ..batch_scoring import score as run
    from ..validate.validation import served_at
    from .console import deliver, progress_of_rows, say
    from .switches import mute_pipelines

    mute_pipelines()
    asked = ScoreOptions(**options, headers=server.headers)
    if serve:
        server.refuse_beside("--serve")
    else:
        server.wait_for([asked.name])
    with served_at(server.address, repository if serve else None) as place, progress_of_rows(asked.name) as advance:
        summary = run(asked, place, advance)
    deliver(summary.to_json(), report)
    before = f", {summary.rows_before:,} of them earlier" if summary.rows_before else ""
    say(
        f"{summary.model}: {amount(summary.rows, 'row')} in {summary.output}{before}, {amount(summary.errors, 'error')},"
        f" {summary.rows_per_second:,.0f} rows/s"
    )
    if summary.errors and not allow_errors:
        fail(
            f"{summary.errors:,} of {amount(summary.rows, 'row')} {'has' if summary.errors == 1 else 'have'} no answer;"
            f" the column error of {summary.output} says why",
            1,
        )
