"""Output of the command line: progress on stderr, results on stdout as tables and lines or as one JSON document, JSON files."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..core.json_files import json_bytes
from . import interrupts
from .switches import is_verbose, switches


def _draws() -> bool:
    """Whether progress is drawn: on terminals, unless the command is quiet or log messages appear in between."""
    return sys.stderr.isatty() and not switches().quiet and not is_verbose()


def _note(line: str) -> None:
    """Writes a line of progress with the time of day."""
    interrupts.check()
    if not switches().quiet:
        click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yields a function to call with each stage's name. Writes to stderr: a spinner on terminals, lines elsewhere."""
    if not _draws():
        yield _note
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:

        def show(stage: str) -> None:
            interrupts.check()
            status.update(f"{stage} …")

        yield show


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[str, int], None]]:
    """The same for several items: yields a function to call with each stage's name and the number of finished items."""
    if not _draws():
        yield lambda stage, done: _note(f"[{done + 1}/{total}] {stage}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def show(stage: str, done: int) -> None:
            interrupts.check()
            bar.update(task, description=f"{stage} …", completed=done)

        yield show


@contextmanager
def progress_of_rows(what: str) -> Iterator[Callable[[int, int], None]]:
    """The same for the rows of a large set: yields a function to call with the number of finished rows and the total number.

    Without a terminal, a line is written for each tenth of the rows.
    """
    if not _draws():
        told = -1

        def tell(done: int, total: int) -> None:
            nonlocal told
            if (tenth := done * 10 // total) > told:
                told = tenth
                _note(f"{what}: {done:,} of {total:,} row{'s' * (total != 1)}")

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
            interrupts.check()
            if bar.tasks[0].total is None:  # rows of an earlier run would distort the speed of this run
                bar.reset(task, total=total, completed=done)
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="–" if speed is None else f"{speed:,.0f}")

        yield move


def say(line: str) -> None:
    """Prints a line of the result, unless the result is JSON."""
    if not switches().json:
        click.echo(line)


def document(result: Any) -> None:
    """Prints a result as JSON, if --json asks for that."""
    if switches().json:
        switches().printed = True
        click.echo(json_bytes(result), nl=False)


def document_of_error(message: str, code: int) -> None:
    """Prints an error as JSON, if --json asks for a document and none was printed."""
    if not switches().printed:
        document({"error": message, "exit_code": code})


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table, unless the result is JSON. Numeric columns are right-aligned."""
    from .layout import table_lines

    if not switches().json:
        lines = table_lines(title, columns, rows, output_width(), ruled=sys.stdout.isatty())
        click.echo("\n" + "\n".join(lines))


def output_width() -> int:
    """The characters of a line: the terminal's, else $COLUMNS, else 80."""
    try:
        if columns := os.get_terminal_size(sys.stdout.fileno()).columns:
            return columns
    except (OSError, ValueError):  # stdout is no terminal, or not a file
        pass
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else 80


def deliver(result: dict[str, Any], report: Path | None) -> None:
    """Writes a result to the report, if one is asked for, and prints it, if --json asks for that."""
    write_report(report, result)
    document(result)


def write_report(path: Path | None, report: dict[str, Any]) -> None:
    """Writes a report as JSON if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json_bytes(report))
