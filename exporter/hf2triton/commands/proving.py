"""Commands that prove an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command, fail, report_option, repository_option, url_option


@click.command()
@click.argument("name")
@url_option
@repository_option
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A recorded baseline.  [default: the one in the repository's entry]",
)
@report_option
@command
def validate(name: str, url: str, repository: Path, baseline: Path | None, report: Path | None) -> None:
    """Prove the served model NAME against PyTorch's recorded answers. Exit code 3 if it differs; needs no torch."""
    from hf2triton_client import connect
    from hf2triton_client.baseline import Baseline
    from hf2triton_client.report import new_report, write_report
    from hf2triton_client.validate import validate as run

    from ..console import table
    from ..repository.layout import baseline_path, fronts_of

    fronts = [name] if baseline else fronts_of(repository, name)
    recorded = [Baseline.load(baseline or baseline_path(repository, front)) for front in fronts]
    with connect(url) as connection:
        results = [run(connection, front, own) for front, own in zip(fronts, recorded, strict=True)]
    passed = all(result.passed for result in results)
    if report is not None:
        write_report(new_report(f"Triton at {url}", results), report)
    for result, own in zip(results, recorded, strict=True):
        rows = [
            (check.name, *_numbers(difference), "ok" if difference.passed else "; ".join(difference.breaches))
            for check in result.checks
            for difference in check.differences
        ]
        about = f"version {result.version} at {url}: {result.task} in {result.precision}, {len(own)} inputs"
        table(f"{result.model} {about}", ("check", "output", "largest", "mean", "cosine", "argmax", "result"), rows)
    if not passed:
        fail(f"{name} at {url} does not give PyTorch's answers", 3)


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
    from ..console import progress, table, write_report
    from ..verify import verify as run

    with progress() as advance:
        results = run(repository, name, releases, advance)
    write_report(
        report,
        {"passed": all(result.passed for result in results), "runs": [result.to_json() for result in results]},
    )
    table(
        f"{name} in the onnxruntime of Triton releases, on this CPU",
        ("release", "onnxruntime", "IR/opset", "front", "largest", "result"),
        [
            (
                result.release.span,
                result.runtime.onnxruntime,
                f"{result.release.ir_version}/{result.release.opset}",
                result.front,
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


def _numbers(difference: Any) -> tuple[str, ...]:
    argmax = "–" if difference.argmax is None else f"{difference.argmax:.3f}"
    return (
        difference.output,
        f"{difference.max_abs:.2g}",
        f"{difference.mean_abs:.2g}",
        "–" if difference.cosine is None else f"{difference.cosine:.6f}",
        argmax,
    )
