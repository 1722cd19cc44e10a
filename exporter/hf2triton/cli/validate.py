"""`hf2triton validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, reports_option, repository_option
from .completion import entry_names
from .data_options import adapter_option, base_name_option, column_option, dataset_option
from .server_options import ServerOptions, asks_server, serve_option
from .switches import json_option


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=entry_names)
@asks_server()
@serve_option
@repository_option
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The baseline to compare with.  [default: the one in the entry]",
)
@click.option("--source", help="Compare with PyTorch running this checkpoint. This needs hf2triton[export].")
@adapter_option
@base_name_option
@dataset_option
@column_option
@reports_option
@json_option
@command
def validate(
    names: tuple[str, ...], server: ServerOptions, serve: bool, reports: tuple[Path, ...], **against: Any
) -> None:
    """Compare a server's answers with PyTorch's.

    validate compares tensors, decoded answers, and scores on labelled data. Without NAME, it checks all entries of the
    repository. If answers differ, the exit code is 3. torch is only needed with --source.
    """
    from hf2triton_client import connect
    from hf2triton_client.report.io import new_report, require_form, write_report
    from hf2triton_client.report.json_form import to_json
    from hf2triton_client.report.tables import failures_table, validation_tables
    from hf2triton_client.report.verdict import verdict

    from ..core.layout import entries
    from ..validate.validation import Against, served_at, validate_entries
    from .console import document, progress, say, table
    from .switches import mute_pipelines

    mute_pipelines()
    if serve:
        server.refuse_beside("--serve")
    whom = Against(**against)
    for path in reports:
        require_form(path)
    if not serve:
        server.wait_for(names or entries(whom.repository))
    with (
        progress() as advance,
        served_at(server.address, whom.repository if serve else None) as place,
        connect(place, headers=server.headers) as connection,
    ):
        validations = validate_entries(connection, names, whom, advance)
        found = new_report(connection.server_name(), validations)
    for path in reports:
        write_report(found, path)
    document(to_json(found))
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
    say(f"{who}: all {count} checks passed{more}")
