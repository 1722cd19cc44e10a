"""`hf2triton demo`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, fail
from .switches import json_option


@click.command()
@click.option("--task", "tasks", multiple=True, help="Show only this task. Repeatable.")
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("demo_repository"),
    show_default=True,
    help="The model repository to make. Models that it already has are not exported again.",
)
@json_option
@command
def demo(tasks: tuple[str, ...], repository: Path) -> None:
    """Export, serve, call, validate and measure sample models.

    In a clone of the project, there is a model for each task. Elsewhere, there is one for sentence embeddings.
    """
    from ..demo.demo import run
    from .console import document, progress, say, table
    from .own_command import own_command

    with progress() as advance:
        result = run(tasks, repository, advance)
    for title, columns, rows in result.tables:
        table(title, columns, rows)
    call = own_command("infer", *result.show.arguments(), "--wait", "60")
    serve = own_command("serve", "--repository", str(repository))
    say(f"\n{repository} is ready to be served:\n\n  {serve}\n\nThen, in another terminal:\n\n  {call}\n")
    document(result.to_json())
    if not result.passed:
        fail("a served model does not give PyTorch's answers", 3)
