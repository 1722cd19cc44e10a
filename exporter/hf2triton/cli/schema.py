"""`hf2triton schema`."""

from __future__ import annotations

import click

from .common import command

#: Argument of `hf2triton schema` -> (package, file in it).
SCHEMAS = {"build": ("hf2triton", "data/build.schema.json"), "report": ("hf2triton_client", "data/report.schema.json")}


@click.command()
@click.argument("name", type=click.Choice(sorted(SCHEMAS)))
@command
def schema(name: str) -> None:
    """Print the JSON schema of build files or of reports."""
    from importlib.resources import files

    package, file = SCHEMAS[name]
    click.echo(files(package).joinpath(file).read_text(encoding="utf-8"), nl=False)
