"""`hf2triton manifests`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command, repository_option
from .completion import entry_names


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=entry_names)
@click.option("--target", required=True, metavar="kubernetes|kserve", help="The platform to write manifests for.")
@repository_option
@click.option(
    "--storage",
    metavar="URI",
    default="pvc://hf2triton-models",
    show_default=True,
    help="Where the cluster finds the repository: pvc://CLAIM[/PATH], s3://…, gs://…, as://…, or a path in the image.",
)
@click.option(
    "--image", help="The server's image, built from docker/server.Dockerfile.  [default: hf2triton-server:cpu or :gpu]"
)
@click.option("--replicas", type=int, default=2, show_default=True, help="The minimum number of replicas.")
@click.option("--gpus", type=int, help="GPUs of each replica.  [default: 1 if an entry was exported for a GPU]")
@click.option("--cpus", type=int, default=4, show_default=True, help="CPU cores of each replica.")
@click.option("--name", default="hf2triton", show_default=True, help="The name of the objects.")
@click.option(
    "--tls", metavar="SECRET", help="The Secret with the TLS certificate for gRPC. HTTP then answers only health."
)
@click.option(
    "--mutual-tls",
    metavar="SECRET",
    help="The same, for callers whose certificate is signed by the ca.crt in the Secret.",
)
@click.option("--control-key", metavar="SECRET", help="The Secret with the key for loading and unloading models.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: standard output]",
)
@command
def manifests(target: str, output: Path | None, **options: Any) -> None:
    """Write Kubernetes or KServe manifests for a model repository.

    The manifests serve the entries NAME, or all entries. Memory, ports and probes follow from the repository.
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
