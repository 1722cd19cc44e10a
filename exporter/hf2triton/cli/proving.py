"""Commands that prove an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import command, fail, report_option, reports_option, repository_option, url_option

dataset_option = click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Labelled data: .jsonl, .json, .csv, or a folder of images by label.",
)
column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=lambda _, __, given: dict(_column(one) for one in given),
    metavar="NAME=COLUMN",
    help="What the data call a column, such as text=review. May be given several times.",
)
adapter_option = click.option("--adapter", help="A folder with a LoRA adapter, merged into SOURCE.")
base_name_option = click.option("--base-name", help="What the adapter calls SOURCE, where its own name does not tell.")


def _column(given: str) -> tuple[str, str]:
    name, equals, column = given.partition("=")
    if not equals:
        raise click.BadParameter(f"{given!r} should read NAME=COLUMN")
    return name, column


@click.command()
@click.argument("source")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Ends in .safetensors; a .json is written beside it.",
)
@dataset_option
@column_option
@click.option("--task", help="By default what the checkpoint was trained for.")
@adapter_option
@base_name_option
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, which can run code.")
@command
def baseline(source: str, output: Path, dataset: Path | None, columns: dict[str, str], **options: Any) -> None:
    """Record what PyTorch answers of SOURCE, a checkpoint folder or a hub id, and how right it is.

    `hf2triton validate NAME --baseline FILE` compares a served model with it later, on machines without torch.
    """
    from ..core.options import ExportOptions
    from ..errors import UsageError
    from ..parity.baseline_recorder import record
    from ..validate.validation import beside
    from .console import progress, table
    from .tables import recorded_table

    if output.suffix != ".safetensors":
        raise UsageError(f"{output} should end in .safetensors")
    with progress() as advance:
        recorded = record(ExportOptions(source, output.stem, **options), dataset, columns, advance)
    output.parent.mkdir(parents=True, exist_ok=True)
    for suffix, own in recorded.items():
        own.save(beside(output, suffix))
    table(*recorded_table(source, dataset, recorded))
    click.echo(f"recorded in {', '.join(str(beside(output, suffix)) for suffix in recorded)}")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@url_option
@click.option("--serve", is_flag=True, help="Start an embedded Triton on the repository for it, on free ports.")
@repository_option
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A recorded baseline.  [default: the one in the repository's entry]",
)
@click.option("--source", help="Compare with PyTorch itself, which runs this checkpoint; needs hf2triton[export].")
@adapter_option
@base_name_option
@dataset_option
@column_option
@reports_option
@command
def validate(names: tuple[str, ...], url: str, serve: bool, reports: tuple[Path, ...], **against: Any) -> None:
    """Prove the served models NAME… against PyTorch: tensors, decoded answers, and scores on labelled data.

    Without a NAME all that the repository holds. Exit code 3 if one differs. Needs no torch, unless --source is given.
    """
    import logging

    from hf2triton_client import connect
    from hf2triton_client.report.io import new_report, require_form, write_report
    from hf2triton_client.report.tables import failures_table, validation_tables
    from hf2triton_client.report.verdict import verdict

    from ..validate.validation import Against, served_at, validate_entries
    from .console import progress, table

    logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)  # long texts are among those asked
    whom = Against(**against)
    for path in reports:
        require_form(path)
    with (
        progress() as advance,
        served_at(url, whom.repository if serve else None) as place,
        connect(place) as connection,
    ):
        validations = validate_entries(connection, names, whom, advance)
        found = new_report(connection.server_name(), validations)
    for path in reports:
        write_report(found, path)
    shown = [one for validation in validations for one in validation_tables(validation)]
    for own in (*shown, *filter(lambda one: one.rows, map(failures_table, validations))):
        table(own.title, own.columns, own.rows)
    failed = [one.model for one in found.validations if not one.passed]
    if failed:
        said = verdict(found)
        first = "; ".join(said.reasons[:1])
        fail(f"{', '.join(failed)} at {place}: not PyTorch's answers: {first}. {' '.join(said.advice)}", 3)
    count = sum(len(one.checks) + len(one.scores) for one in found.validations)
    who = ", ".join(names) or ", ".join(one.model for one in found.validations)
    click.echo(f"{who}: all {count} checks passed")


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
