"""`hf2triton prune`."""

from __future__ import annotations

import click

from .common import command, place_option
from .completion import entry_names
from .switches import json_option


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=entry_names)
@click.option(
    "--keep", type=int, required=True, help="How many of the newest versions to keep. The served one always stays."
)
@place_option
@json_option
@command
def prune(names: tuple[str, ...], keep: int, place: str) -> None:
    """Delete old versions of entries.

    Without NAME, old versions of all entries are deleted. The served version is never deleted.
    """
    from ..deploy.history import prune as run
    from ..repository.stores import open_store
    from .console import document, progress, say

    with progress() as advance:
        removed = run(open_store(place), names, keep, advance)
    for frontend, gone in removed.items():
        say(f"{frontend}: removed {', '.join(map(str, gone))}" if gone else f"{frontend}: nothing to remove")
    document({"repository": place, "removed": removed})
