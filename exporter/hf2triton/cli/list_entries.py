"""`hf2triton list`."""

from __future__ import annotations

import click

from .common import command, place_option
from .switches import json_option


@click.command("list")
@place_option
@click.option("--versions", "all_versions", is_flag=True, help="List all versions, not only the served ones.")
@json_option
@command
def list_entries(place: str, all_versions: bool) -> None:
    """List the entries of a model repository."""
    from ..deploy.history import versions_in
    from ..repository.stores import open_store
    from .console import document, table

    shown = [version for version in versions_in(open_store(place)) if version.served or all_versions]
    rows, objects = [], []
    for version in shown:
        manifest = version.manifest
        state = "served" if version.served else version.lacking
        own = {
            "name": version.frontend,
            "version": version.number,
            "task": manifest.task,
            "precision": manifest.graph.precision,
            "difference": manifest.parity.max_abs,
        }
        when = {"state": state, "exported_at": manifest.exported_at}
        objects.append({**own, **when, "source": manifest.source.given})
        cells = {**own, "difference": f"{manifest.parity.max_abs:.2g}", **(when if all_versions else {})}
        rows.append([*cells.values(), manifest.source.given])
    columns = ("name", "version", "task", "precision", "difference")
    table(place, (*columns, *(("state", "exported at") if all_versions else ()), "source"), rows)
    document({"repository": place, "versions": objects})
