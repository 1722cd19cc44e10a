"""`hf2triton list`."""

from __future__ import annotations

import click

from .common import command, place_option


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
