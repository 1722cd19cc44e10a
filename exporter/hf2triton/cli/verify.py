"""`hf2triton verify`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import command, fail, report_option, repository_option


@click.command()
@click.argument("name")
@click.option(
    "--release",
    "releases",
    multiple=True,
    help="A Triton release, such as 24.08; may be given several times; 'all' is one of each onnxruntime.  [default: the one"
    " that NAME was exported for, or else the first that it runs on, the last, and one between them]",
)
@repository_option
@report_option
@command
def verify(name: str, releases: tuple[str, ...], repository: Path, report: Path | None) -> None:
    """Prove NAME's graph in the onnxruntime of Triton releases, each in an environment that pip makes for it once.

    Exit code 3 if its answers differ from PyTorch's, 1 if it does not load or run; needs no torch.
    """
    from ..verify.verify import verify as run
    from .console import progress, table, write_report

    with progress() as advance:
        results = run(repository, name, releases, advance)
    write_report(
        report, {"passed": all(result.passed for result in results), "runs": [result.to_json() for result in results]}
    )
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
        fail(f"{name} does not give PyTorch's answers on every one of these releases", 3)
    if any(result.error for result in results):
        fail(f"{name} does not run on every one of these releases", 1)
