"""Output of the command line: a spinner or a bar on terminals, plain time-stamped lines elsewhere, tables, JSON files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yields a function to call with each stage's name. Writes to stderr."""
    if not sys.stderr.isatty():
        yield lambda stage: click.echo(f"{time.strftime('%H:%M:%S')} {stage}", err=True)
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:
        yield lambda stage: status.update(f"{stage} …")


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[str, int], None]]:
    """The same for several items: yields a function to call with each stage's name and the number of finished items."""
    if not sys.stderr.isatty():
        with progress() as advance:
            yield lambda stage, done: advance(f"[{done + 1}/{total}] {stage}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda stage, done: bar.update(task, description=f"{stage} …", completed=done)


@contextmanager
def progress_of_rows(what: str) -> Iterator[Callable[[int, int], None]]:
    """The same for the rows of a large set: yields a function to call with the number of finished rows and the total number.

    Without a terminal, a line is written for each tenth of the rows.
    """
    if not sys.stderr.isatty():
        told = -1

        def tell(done: int, total: int) -> None:
            nonlocal told
            if (tenth := done * 10 // total) > told:
                told = tenth
                click.echo(
                    f"{time.strftime('%H:%M:%S')} {what}: {done:,} of {total:,} row{'s' * (total != 1)}", err=True
                )

        yield tell
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    rate = TextColumn("{task.fields[rate]} rows/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), rate)
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, rate="–")

        def move(done: int, total: int) -> None:
            if bar.tasks[0].total is None:  # rows of an earlier run would distort the speed of this run
                bar.reset(task, total=total, completed=done)
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="–" if speed is None else f"{speed:,.0f}")

        yield move


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table: drawn on terminals, aligned plain text elsewhere. Numeric columns are right-aligned."""
    from hf2triton_client.report.tables import numeric_columns

    cells = [[str(cell) for cell in row] for row in rows]
    right = numeric_columns(cells) if cells else [False] * len(columns)
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        # Text, so that brackets, for example around a shape, are not read as markup
        drawn = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left")
        for column, one in zip(columns, right, strict=True):
            drawn.add_column(Text(column), justify="right" if one else "left")
        for row in cells:
            drawn.add_row(*map(Text, row))
        Console().print(drawn)
        return
    widths = [max(len(line[index]) for line in [list(columns), *cells]) for index in range(len(columns))]
    click.echo(f"\n{title}")
    for line in [list(columns), *cells]:
        aligned = [
            cell.rjust(width) if one else cell.ljust(width)
            for cell, width, one in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(aligned).rstrip())


def write_report(path: Path | None, report: dict[str, Any]) -> None:
    """Writes a report as JSON if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
