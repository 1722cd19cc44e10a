"""`hf2triton serve`."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import click

from .common import command, fail, repository_option

_FOLDER = click.Path(file_okay=False, path_type=Path)


_PORT = click.IntRange(0, 65535)


@click.command()
@repository_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Do not expose it: see the page Security of the documentation.",
)
@click.option(
    "--http-port", type=_PORT, default=8000, show_default=True, help="The port of HTTP. 0 means any free port."
)
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True, help="The port of gRPC, for the client.")
@click.option("--metrics-port", type=_PORT, default=8002, show_default=True, help="The port of the metrics.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="The file for Triton's log.")
@click.option("--shared-memory", is_flag=True, help="Let clients on this machine pass tensors in shared memory.")
@click.option(
    "--tls",
    type=_FOLDER,
    help="Serve gRPC with TLS, with tls.crt and tls.key in this folder. HTTP then answers only health requests.",
)
@click.option(
    "--mutual-tls", type=_FOLDER, help="The same, for callers whose certificate is signed by the ca.crt in this folder."
)
@click.option(
    "--control-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file with the key for loading and unloading models.  [default: $HF2TRITON_CONTROL_KEY_FILE, else the key in"
    " $HF2TRITON_CONTROL_KEY, else a random key]",
)
@click.option("--strict", is_flag=True, help="Exit if a model cannot be loaded, instead of serving the others.")
@command
def serve(repository: Path, control_key: Path | None, **options: Any) -> None:
    """Serve a model repository with the embedded Triton.

    The server runs on this machine until you press Ctrl-C. If a model cannot be loaded, its name and Triton's reason are
    printed on stderr, the other models are served, and the exit code at the end is 1. /v2/health/ready answers for all models
    that are served, /v2/models/NAME/ready for one model.

    Only callers that send the control key can load models and change traces, logs and shared memory. `hf2triton publish --load`
    sends it.
    """
    from ..core.control import control_key as read_key
    from ..core.layout import entries
    from ..repository.shared_memory import shared_memory_bytes, too_little
    from ..serving import Server

    # not an Event: a signal that comes while this thread holds the Event's own lock would wait for it forever
    stops: list[int] = []

    def stop(number: int, _: object) -> None:
        stops.append(number)

    signal.signal(signal.SIGTERM, stop)

    def report(model: str, reason: str) -> None:
        click.echo(f"hf2triton: {model} is not served: {reason}", err=True)

    with Server(repository, **options, control_key=read_key(control_key), on_failure=report, tell=True) as server:
        scheme = "grpcs://" if server.access.tls else ""
        if warning := too_little(shared_memory_bytes(repository, entries(repository))):
            click.echo(f"hf2triton: {warning}", err=True)
        click.echo(
            f"serving {repository} after {server.ready_seconds:.1f} s: gRPC {scheme}{server.url}, HTTP {server.http_url},"
            f" metrics {server.metrics_url}/metrics"
        )
        signal.signal(signal.SIGINT, stop)  # until here, it ends the start
        while server.running and not stops:
            time.sleep(0.2)
        if not stops:
            fail(f"tritonserver has ended:\n{server.log_text()[-2000:]}", 1)
        failed = ", ".join(server.failed)
    if failed:
        fail(f"these models were not served: {failed}", 1)
