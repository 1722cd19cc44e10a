"""`hf2triton manifests`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command, repository_option


@click.command()
@click.argument("names", nargs=-1)
@click.option("--target", required=True, metavar="kubernetes|kserve", help="What the manifests are for.")
@repository_option
@click.option(
    "--storage",
    metavar="URI",
    default="pvc://hf2triton-models",
    show_default=True,
    help="Where the cluster finds the repository: pvc://CLAIM[/PATH], s3://…, gs://…, as://…, or a path in the image.",
)
@click.option("--image", help="A build of docker/server.Dockerfile.  [default: hf2triton-server:cpu or :gpu]")
@click.option("--replicas", type=int, default=2, show_default=True, help="How many there are at least.")
@click.option("--gpus", type=int, help="GPUs of a replica.  [default: 1 if an entry was exported for one]")
@click.option("--cpus", type=int, default=4, show_default=True, help="Cores of a replica.")
@click.option("--name", default="hf2triton", show_default=True, help="The name of the objects.")
@click.option("--tls", metavar="SECRET", help="gRPC with the TLS certificate of a Secret; HTTP is closed.")
@click.option(
    "--mutual-tls", metavar="SECRET", help="The same, for callers alone whose certificate its ca.crt has signed."
)
@click.option("--control-key", metavar="SECRET", help="The Secret with the key of those who may change models.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write them here, not to the screen."
)
@command
def manifests(target: str, output: Path | None, **options: Any) -> None:
    """Write what serves the entries NAME… (by default all) on Kubernetes, or with KServe.

    Memory, ports and probes follow from the repository.
    """
    from ..errors import UsageError
    from ..kubernetes import ManifestOptions
    from ..kubernetes import manifests as make

    text = make(target, ManifestOptions(**options))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
