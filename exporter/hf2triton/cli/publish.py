"""`hf2triton publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command
from .completion import entry_names
from .server_options import ServerOptions, control_over, loads_on_server
from .switches import json_option


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("place", metavar="DEST")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=entry_names)
@loads_on_server
@json_option
@command
def publish(repository: Path, place: str, names: tuple[str, ...], server: ServerOptions) -> None:
    """Copy served versions to another repository, and serve them there.

    REPOSITORY is the source. DEST is a folder, or a URL that starts with s3://, gs:// or az:// (through fsspec). Without NAME,
    all entries are copied.

    Digests are compared after the copy, and the switch to the new version comes last. With --load, the server first loads each
    new version under another name, and must give PyTorch's recorded answers. If they differ, the old version stays and the
    exit code is 3.
    """
    from hf2triton_client.errors import ClientError

    from ..deploy.transfer import PUBLISHED, SWITCHED, UNCHANGED, publish_entries
    from ..errors import Hf2TritonError
    from .console import document, progress, say

    words = {
        PUBLISHED: "version {version} published",
        SWITCHED: "switched to version {version}, which was there",
        UNCHANGED: "version {version} is there and served",
    }
    put_back = "version {version} is there; its config is put back"
    entries: list[dict[str, Any]] = []
    result: dict[str, Any] = {"repository": place, "entries": entries}
    try:
        with progress() as advance, control_over(server) as live:
            for done in publish_entries(repository, place, names, live, advance):
                entries.append(
                    {"entry": done.entry, "state": done.state, "version": done.version, "before": done.before}
                )
                again = done.state == SWITCHED and done.before == done.version
                what = put_back if again else words[done.state]
                before = f", in place of {done.before}" if done.before not in (None, done.version) else ""
                say(f"{done.entry}: {what.format(version=done.version)}{before}")
    except (Hf2TritonError, ClientError) as error:
        document({**result, "error": str(error)})
        raise
    document(result)
