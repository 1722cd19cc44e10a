"""`hf2triton publish`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command
from .live_options import control_over, live_options


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("place", metavar="DEST")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@live_options
@command
def publish(repository: Path, place: str, names: tuple[str, ...], url: str | None, headers: dict[str, str]) -> None:
    """Copy what REPOSITORY serves, the entries NAME… or all, to DEST: a folder, or s3://, gs:// or az:// (through fsspec).

    Digests are compared after the copy, and what is served changes last. With --load each new version is first loaded under
    another name and asked for PyTorch's recorded answers. Exit code 3 if it gives others; the old one is served then.
    """
    from ..deploy.transfer import PUBLISHED, SWITCHED, UNCHANGED, publish_entries
    from .console import progress

    words = {
        PUBLISHED: "version {version} published",
        SWITCHED: "switched to version {version}, which was there",
        UNCHANGED: "version {version} is there and served",
    }
    put_back = "version {version} is there; its config is put back"
    with progress() as advance, control_over(url, headers) as live:
        for done in publish_entries(repository, place, names, live, advance):
            again = done.state == SWITCHED and done.before == done.version
            what = put_back if again else words[done.state]
            before = f", in place of {done.before}" if done.before not in (None, done.version) else ""
            click.echo(f"{done.entry}: {what.format(version=done.version)}{before}")
