"""`hf2triton score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, report_option, repository_option, url_option


def _columns(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Our name -> the input's name; "" for the task's first column, if a column is given alone."""
    parted = (one.partition("=") if "=" in one else ("", "", one) for one in given)
    return {name: column for name, _, column in parted}


def _options(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    parted = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in parted if not equals]:
        raise click.BadParameter(f"{wrong[0]!r} should read NAME=VALUE")
    return {name: _value(value) for name, _, value in parted}


def _value(word: str) -> Any:
    """A JSON value, or else a word."""
    try:
        return json.loads(word)
    except ValueError:
        return word


@click.command()
@click.argument("name")
@click.argument("input", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@url_option
@click.option("--serve", is_flag=True, help="Start an embedded Triton on the repository for it, on free ports.")
@repository_option
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds a call may take.")
@click.option("--task", help="By default the one that the model serves.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="[NAME=]COLUMN",
    help="What the input calls a column, such as review, or text_pair=question2. May be given several times.",
)
@click.option("--id", metavar="COLUMN", help="What names a row.  [default: the column id, or else the row's number]")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Copy it to OUTPUT. May be given several times.")
@click.option("--labels", help="Candidate labels of a zero-shot task, with commas between them.")
@click.option(
    "--option",
    "options",
    multiple=True,
    callback=_options,
    metavar="NAME=VALUE",
    help="Of the task's pipeline, such as top_k=null or max_new_tokens=20. May be given several times.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Rows of one call.  [default: 32 texts, 8 images]")
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Calls under way at once.")
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Rows that are written at once, and that a run which is stopped loses at most.",
)
@click.option("--restart", is_flag=True, help="Throw away what an earlier run has done, and replace OUTPUT.")
@click.option("--allow-errors", is_flag=True, help="Exit with 0 even if rows could not be answered.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Have Ray Data score the shards: local for a Ray on this machine, auto, or ray://HOST:PORT for a cluster whose machines"
    " see INPUT and OUTPUT under the same paths.",
)
@click.option("--workers", type=click.IntRange(1), help="Ray's actors.  [default: one for each CPU of the cluster]")
@report_option
@command
def score(url: str, serve: bool, repository: Path, allow_errors: bool, report: Path | None, **options: Any) -> None:
    """Ask the served model NAME about all rows of INPUT, and write its answers to OUTPUT, in order.

    INPUT is .jsonl, .parquet, a folder of such files, or a folder of images. OUTPUT ends in .jsonl or .parquet. A run that was
    stopped, in whatever way, continues when you give the same command again. Exit code 1 if rows could not be answered: their
    column error says why.
    """
    import logging

    from ..batch_scoring import ScoreOptions
    from ..batch_scoring import score as run
    from ..validate.validation import served_at
    from .console import progress_of_rows, write_report

    logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)  # no warnings about texts that are cut
    asked = ScoreOptions(**options)
    with served_at(url, repository if serve else None) as place, progress_of_rows(asked.name) as advance:
        summary = run(asked, place, advance)
    write_report(report, summary.to_json())
    before = f", {summary.rows_before:,} of them earlier" if summary.rows_before else ""
    click.echo(
        f"{summary.model}: {amount(summary.rows, 'row')} in {summary.output}{before}, {amount(summary.errors, 'error')},"
        f" {summary.rows_per_second:,.0f} rows/s"
    )
    if summary.errors and not allow_errors:
        fail(
            f"{summary.errors:,} of {amount(summary.rows, 'row')} {'has' if summary.errors == 1 else 'have'} no answer;"
            f" the column error of {summary.output} says why",
            1,
        )
