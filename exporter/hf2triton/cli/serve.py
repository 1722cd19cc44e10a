"""`hf2triton serve`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import click

from .common import command, fail, repository_option

_FOLDER = click.Path(file_okay=False, path_type=Path)


_PORT = click.IntRange(0, 65535)


@click.command()
@repository_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Do not expose it: see the README.")
@click.option("--http-port", type=_PORT, default=8000, show_default=True)
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True)
@click.option("--metrics-port", type=_PORT, default=8002, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Where Triton writes its log.")
@click.option("--shared-memory", is_flag=True, help="Let clients on this machine hand over tensors in shared memory.")
@click.option(
    "--tls", type=_FOLDER, help="gRPC with TLS: the folder has tls.crt and tls.key. HTTP answers health alone."
)
@click.option("--mutual-tls", type=_FOLDER, help="The same, for callers alone whose certificate its ca.crt has signed.")
@click.option(
    "--control-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file with the key of those who may tell it what to load.  [default: $HF2TRITON_CONTROL_KEY_FILE, the key in"
    " $HF2TRITON_CONTROL_KEY, or nobody has one]",
)
@click.option("--strict", is_flag=True, help="Stop where a model is not loaded, instead of serving the others.")
@command
def serve(repository: Path, control_key: Path | None, **options: Any) -> None:
    """Serve a model repository with the embedded Triton, on this machine.

    A model that is not loaded is named on stderr, with Triton's reason, and the exit code at the end is 1. The others are served,
    and /v2/health/ready answers for them; /v2/models/NAME/ready answers for each.

    Models, traces, logs and shared memory are for those alone who send the control key, as publish --load does.
    """
    from ..core.control import control_key as read_key
    from ..core.layout import entries
    from ..repository.shared_memory import shared_memory_bytes, too_little
    from ..serving import Server

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

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
        while server.running and not stop.wait(0.2):
            pass
        if not stop.is_set():
            fail(f"tritonserver has ended:\n{server.log_text()[-2000:]}", 1)
        failed = ", ".join(server.failed)
    if failed:
        fail(f"these models were not served: {failed}", 1)
