"""`hf2triton prune`."""

from __future__ import annotations

import click

from .common import command, place_option


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--keep", type=int, required=True, help="How many of the newest versions stay, beside the served one.")
@place_option
@command
def prune(names: tuple[str, ...], keep: int, place: str) -> None:
    """Remove old versions of the entries NAME…, or of all; never the served one."""
    from ..deploy.history import prune as run
    from ..repository.stores import open_store
    from .console import progress

    with progress() as advance:
        removed = run(open_store(place), names, keep, advance)
    for frontend, gone in removed.items():
        click.echo(f"{frontend}: removed {', '.join(map(str, gone))}" if gone else f"{frontend}: nothing to remove")
