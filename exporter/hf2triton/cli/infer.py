"""`hf2triton infer`."""

from __future__ import annotations

import click

from .common import command, url_option


@click.command()
@click.argument("name")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--labels", help="Candidate labels of a zero-shot task, with commas between them.")
@url_option
@command
def infer(name: str, inputs: tuple[str, ...], labels: str | None, url: str) -> None:
    """Ask the served model NAME and print the answer as JSON.

    INPUT is a text, or a path or URL for models of images. For sentence-similarity the first is compared with the others;
    for question-answering they are questions and their contexts in turn.
    """
    import json

    from hf2triton_client import pipeline

    from ..tasks import TASKS

    with pipeline(model=name, url=url) as ask:
        options = {"candidate_labels": labels} if labels is not None else {}
        click.echo(
            json.dumps(ask(TASKS[ask.model.task].arguments(inputs), **options), ensure_ascii=False, default=float)
        )
