"""`hf2triton inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, repository_option


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
