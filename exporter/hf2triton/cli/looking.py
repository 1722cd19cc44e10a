"""Commands that ask a served model, or look at what a repository holds."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, place_option, repository_option, url_option


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


@click.command("list")
@place_option
@click.option("--versions", "all_versions", is_flag=True, help="All versions, not the served ones alone.")
@command
def list_entries(place: str, all_versions: bool) -> None:
    """List what a model repository serves, or all that it holds."""
    from ..deploy.history import versions_in
    from ..repository.stores import open_store
    from .console import table

    rows = []
    for version in versions_in(open_store(place)):
        manifest = version.manifest
        if not (version.served or all_versions):
            continue
        parity = f"{manifest.parity.max_abs:.2g}"
        row = [version.frontend, version.number, manifest.task, manifest.graph.precision, parity]
        state = "served" if version.served else version.lacking
        rows.append([*row, *([state, manifest.exported_at] if all_versions else []), manifest.source.given])
    columns = ("name", "version", "task", "precision", "difference")
    table(place, (*columns, *(("state", "exported at") if all_versions else ()), "source"), rows)


@click.command()
@click.argument("name")
@repository_option
@click.option("--precision", is_flag=True, help="Show which nodes stay fp32, why, and what that costs.")
@command
def inspect(name: str, repository: Path, precision: bool) -> None:
    """Show the manifest of the version of NAME that is served, as JSON, or its precision plan."""
    from ..core.layout import frontends_of
    from ..core.manifest import served_manifest
    from .console import table
    from .tables import plan_table

    for frontend in frontends_of(repository, name):
        manifest = served_manifest(repository, frontend)
        if precision:
            table(*plan_table(frontend, manifest.plan))
        else:
            click.echo(manifest.to_bytes().decode(), nl=False)
