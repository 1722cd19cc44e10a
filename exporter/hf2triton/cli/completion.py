"""Shell completion of entries' names. It reads only the names of files, so that it is quick."""

from __future__ import annotations

from pathlib import Path

import click

#: The endings of the two frontends of one entry. They are told from the tasks elsewhere, whose import takes too long here.
_PAIR = ("_text", "_image")


def entry_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The entries of the repository that the command line names, or of the default one."""
    repository = ctx.params.get("repository") or ctx.params.get("place") or "model_repository"
    found = {path.parent.name for path in Path(repository).glob("*/manifest.json")}
    for name in {name.removesuffix(_PAIR[0]) for name in found if name.endswith(_PAIR[0])}:
        pair = {name + suffix for suffix in _PAIR}
        if pair <= found:
            found = found - pair | {name}
    given = ctx.params.get("names") or ()
    return sorted(name for name in found if name.startswith(incomplete) and name not in given)
