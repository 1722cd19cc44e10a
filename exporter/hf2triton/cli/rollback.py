"""`hf2triton rollback`."""

from __future__ import annotations

import click

from .common import command, place_option
from .completion import entry_names
from .server_options import ServerOptions, control_over, loads_on_server
from .switches import json_option


@click.command()
@click.argument("name", shell_complete=entry_names)
@click.argument("version", type=int, required=False)
@place_option
@loads_on_server
@json_option
@command
def rollback(name: str, version: int | None, place: str, server: ServerOptions) -> None:
    """Serve an earlier version of an entry again.

    Without VERSION, it is the one before the served version of NAME. With --load, the server loads it and must give
    PyTorch's recorded answers. If they differ, the exit code is 3.
    """
    from ..deploy.history import rollback as run
    from ..repository.stores import open_store
    from .console import document, progress, say

    with progress() as advance, control_over(server) as live:
        before, now = run(open_store(place), name, version, live, advance)
    say(f"{name}: version {now} is served{' already' if now == before else f', in place of {before}'}")
    document({"repository": place, "entry": name, "version": now, "before": before})
