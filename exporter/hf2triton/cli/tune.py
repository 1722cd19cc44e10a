"""`hf2triton tune`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, header_option, repository_option, url_option


@click.command()
@click.argument("name")
@url_option
@repository_option
@click.option(
    "--load",
    is_flag=True,
    help="Make the server load the frontend, before as a trial and after, when it reads the call overhead.",
)
@header_option
@command
def tune(name: str, url: str, repository: Path, load: bool, headers: dict[str, str]) -> None:
    """Measure on the server at --url what one more call of NAME's graph costs, and write it into the repository.

    For entries whose graph is a model of its own, as on GPUs: until then, the frontend plans with an estimate. The server's
    own repository must be --repository. Nobody else should be calling while it measures.
    """
    from ..core.control import connect_to_control
    from ..tune.tune import tune as run
    from .console import progress, table

    with connect_to_control(url, headers) as connection:
        with progress() as advance:
            results = run(connection, repository, name, advance, load)
        for result in results:
            rows = [(call.rows, call.tokens, f"{call.seconds * 1000:.3f}") for call in result.calls]
            table(f"calls of {result.frontend}", ("rows", "tokens each", "ms"), rows)
    for result in results:
        then = "loaded again" if load else "it counts when the server has loaded the frontend again"
        click.echo(f"{result.frontend}: one more call costs {result.overhead} tokens, before {result.before}; {then}")
