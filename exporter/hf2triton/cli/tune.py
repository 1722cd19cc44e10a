"""`hf2triton tune`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .common import command, repository_option
from .completion import entry_names
from .server_options import ServerOptions, asks_server
from .switches import json_option


@click.command()
@click.argument("name", shell_complete=entry_names)
@asks_server()
@repository_option
@click.option("--load", is_flag=True, help="Make the server load the entry before the measurement and after it.")
@json_option
@command
def tune(name: str, server: ServerOptions, repository: Path, load: bool) -> None:
    """Measure the overhead of a graph call on a server, and record it.

    This is for entries whose graph is a separate model, as on GPUs. The frontend of NAME plans its batches with the overhead;
    until it is measured, with an estimate. --repository must be the repository that the server serves. Nobody else should call
    the server during the measurement.
    """
    from ..core.control import connect_to_control
    from ..tune.tune import tune as run
    from .console import document, progress, say, table

    server.wait_for([name])
    with connect_to_control(server.address, server.headers) as connection:
        with progress() as advance:
            results = run(connection, repository, name, advance, load)
        for result in results:
            rows = [(call.rows, call.tokens, f"{call.seconds * 1000:.3f}") for call in result.calls]
            table(f"calls of {result.frontend}", ("rows", "tokens each", "ms"), rows)
    for result in results:
        then = "loaded again" if load else "the frontend uses it once the server has loaded it again"
        say(f"{result.frontend}: one more call costs {result.overhead} tokens, before {result.before}; {then}")
    document({"repository": str(repository), "frontends": [asdict(result) for result in results]})
