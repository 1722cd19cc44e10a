"""`hf2triton inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, repository_option
from .completion import entry_names
from .switches import json_option, switches


@click.command()
@click.argument("name", shell_complete=entry_names)
@repository_option
@click.option("--precision", is_flag=True, help="Show which nodes stay in fp32, why, and how many bytes that costs.")
@json_option
@command
def inspect(name: str, repository: Path, precision: bool) -> None:
    """Show the manifest or the precision plan of an entry.

    The manifest is that of the served version of NAME, and is always printed as JSON. With --json, the output is one object with
    a key for each frontend of NAME.
    """
    from ..core.layout import frontends_of
    from ..core.manifest import served_manifest
    from .console import document, say, table
    from .tables import plan_table

    manifests = {frontend: served_manifest(repository, frontend) for frontend in frontends_of(repository, name)}
    if switches().json:
        document({name: one.plan.to_json() if precision else one.to_json() for name, one in manifests.items()})
        return
    for frontend, manifest in manifests.items():
        if precision:
            table(*plan_table(frontend, manifest.plan))
        else:
            say(manifest.to_bytes().decode().removesuffix("\n"))
