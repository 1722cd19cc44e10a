"""`hf2triton demo`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, fail


@click.command()
@click.option("--task", "tasks", multiple=True, help="Show this task alone; may be given several times.")
@click.option("--repository", type=click.Path(path_type=Path), help="Keep the exported models here.")
@command
def demo(tasks: tuple[str, ...], repository: Path | None) -> None:
    """Show the main job end to end on real weights: export, serve, call, prove, measure."""
    from ..demo.demo import run
    from .console import progress, table

    with progress() as advance:
        result = run(tasks, repository, advance)
    for title, columns, rows in result.tables:
        table(title, columns, rows)
    if not result.passed:
        fail("a served model does not give PyTorch's answers", 3)
