"""`hf2triton rollback`."""

from __future__ import annotations

import click

from .common import command, place_option
from .live_options import control_over, live_options


@click.command()
@click.argument("name")
@click.argument("version", type=int, required=False)
@place_option
@live_options
@command
def rollback(name: str, version: int | None, place: str, url: str | None, headers: dict[str, str]) -> None:
    """Serve VERSION of NAME again, by default the one before the served one.

    With --load the server loads it and is asked for PyTorch's recorded answers. Exit code 3 if it gives others.
    """
    from ..deploy.history import rollback as run
    from ..repository.stores import open_store
    from .console import progress

    with progress() as advance, control_over(url, headers) as live:
        before, now = run(open_store(place), name, version, live, advance)
    click.echo(f"{name}: version {now} is served{' already' if now == before else f', in place of {before}'}")
