"""The commands that bring entries to where they are served, and look after their versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import command, header_option, place_option

if TYPE_CHECKING:
    from ..deploy.live import Live


def live_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--load and what the server behind it wants."""
    for option in (
        header_option,
        click.option(
            "--load",
            "url",
            metavar="URL",
            help="The gRPC endpoint of a server of that repository: the version is loaded there and must give PyTorch's answers.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def _live(url: str | None, headers: dict[str, str]) -> Iterator[Live | None]:
    """Control over the server at a URL, if one is given."""
    if url is None:
        yield None
        return
    import logging

    from ..core.control import connect_to_control
    from ..deploy.live import Live

    logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)  # long texts are among those asked
    with connect_to_control(url, headers) as connection:
        yield Live(connection)


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
    with progress() as advance, _live(url, headers) as live:
        for done in publish_entries(repository, place, names, live, advance):
            again = done.state == SWITCHED and done.before == done.version
            what = put_back if again else words[done.state]
            before = f", in place of {done.before}" if done.before not in (None, done.version) else ""
            click.echo(f"{done.entry}: {what.format(version=done.version)}{before}")


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

    with progress() as advance, _live(url, headers) as live:
        before, now = run(open_store(place), name, version, live, advance)
    click.echo(f"{name}: version {now} is served{' already' if now == before else f', in place of {before}'}")


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
