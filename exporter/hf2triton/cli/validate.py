"""`hf2triton validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, reports_option, repository_option, url_option
from .data_options import adapter_option, base_name_option, column_option, dataset_option


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

    logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)  # no warnings about long texts
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
    count = sum(one.compared for one in found.validations)
    left = sum(len(one.results) for one in found.validations) - count
    who = ", ".join(names) or ", ".join(one.model for one in found.validations)
    more = f"; {amount(left, 'score')} not compared: PyTorch's answers to these rows are not known" if left else ""
    click.echo(f"{who}: all {count} checks passed{more}")
