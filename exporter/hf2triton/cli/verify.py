"""`hf2triton verify`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, fail, report_option, repository_option
from .completion import entry_names
from .switches import json_option


@click.command()
@click.argument("name", shell_complete=entry_names)
@click.option(
    "--release",
    "releases",
    multiple=True,
    help="A Triton release, such as 24.08, or all for one release of each onnxruntime. Repeatable.  [default: the release that"
    " NAME was exported for, or else the first that it runs on, the last, and one in between]",
)
@repository_option
@report_option
@json_option
@command
def verify(name: str, releases: tuple[str, ...], repository: Path, report: Path | None) -> None:
    """Run a graph in the onnxruntime of Triton releases.

    verify compares the answers of NAME's graph with PyTorch's recorded ones. pip makes an environment for each onnxruntime
    once. The exit code is 3 if answers differ, and 1 if the graph does not load or run. torch is not needed.
    """
    from ..verify.verify import verify as run
    from .console import deliver, progress, table

    with progress() as advance:
        results = run(repository, name, releases, advance)
    runs = {"passed": all(result.passed for result in results), "runs": [result.to_json() for result in results]}
    deliver(runs, report)
    table(
        f"{name} in the onnxruntime of Triton releases, on this CPU",
        ("release", "onnxruntime", "IR/opset", "frontend", "largest", "result"),
        [
            (
                result.release.span,
                result.runtime.onnxruntime,
                f"{result.release.ir_version}/{result.release.opset}",
                result.frontend,
                "–" if result.max_abs is None else f"{result.max_abs:.2g}",
                result.result,
            )
            for result in results
        ],
    )
    if any(result.differs for result in results):
        fail(f"{name} does not give PyTorch's answers on all of these releases", 3)
    if any(result.error for result in results):
        fail(f"{name} does not run on all of these releases", 1)
