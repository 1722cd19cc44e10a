"""The commands that serve a repository, and that show everything at once."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import click

from .common import command, fail, repository_option


@click.command()
@repository_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Do not expose it: see the README.")
@click.option("--http-port", type=int, default=8000, show_default=True)
@click.option("--grpc-port", type=int, default=8001, show_default=True)
@click.option("--metrics-port", type=int, default=8002, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Where Triton writes its log.")
@click.option("--shared-memory", is_flag=True, help="Let clients on this machine hand over tensors in shared memory.")
@command
def serve(repository: Path, **options: Any) -> None:
    """Serve a model repository with the embedded Triton, on this machine.

    Whoever knows the key in the environment's HF2TRITON_CONTROL_KEY may tell it what to load, as publish --load does.
    """
    from ..repository.control import CONTROL_KEY
    from ..serving import Server

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Server(repository, **options, control_key=os.environ.get(CONTROL_KEY)) as server:
        click.echo(
            f"serving {repository} after {server.ready_seconds:.1f} s: gRPC {server.url}, HTTP {server.http_url},"
            f" metrics http://{server.host}:{server.ports.metrics}/metrics"
        )
        while server.running and not stop.wait(0.2):
            pass
        if not stop.is_set():
            fail(f"tritonserver has ended:\n{server.log_text()[-2000:]}", 1)


@click.command()
@click.option("--task", "tasks", multiple=True, help="Show this task alone; may be given several times.")
@click.option("--repository", type=click.Path(path_type=Path), help="Keep the exported models here.")
@command
def demo(tasks: tuple[str, ...], repository: Path | None) -> None:
    """Show the main job end to end on real weights: export, serve, call, prove, measure."""
    from ..console import progress, table
    from ..demo import run

    with progress() as advance:
        result = run(tasks, repository, advance)
    for title, columns, rows in result.tables:
        table(title, columns, rows)
    if not result.passed:
        fail("a served model does not give PyTorch's answers", 3)
