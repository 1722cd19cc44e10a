"""`hf2triton report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .common import command, fail
from .switches import json_option


class Percent(click.ParamType[float]):
    """A share given as a percentage: `10%`, or `10`."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(str(value).strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{value!r} is not a percentage from 0% to below 100%, such as 10%", param, ctx)
        return share


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report to this .html, .md or .json file. Repeatable.",
)
@click.option(
    "--fail-if-slower",
    "slower_by",
    type=Percent(),
    metavar="PERCENT",
    help="Exit with 1 if the median latency or the throughput of a served model is worse by more than this.",
)
@click.option(
    "--fail-if-worse",
    is_flag=True,
    help="Exit with 3 if a check that passed now fails, a score is lower, or a largest difference is greater, each beyond noise.",
)
@json_option
@command
def report(files: tuple[Path, ...], outputs: tuple[Path, ...], slower_by: float | None, fail_if_worse: bool) -> None:
    """Show, compare and convert reports of validate and bench.

    FILES are .json reports, which are shown together. Results that two files have in common are compared, the later file with the
    earlier one. Without a --fail-if option, the exit code is 0 whatever the report says.
    """
    from hf2triton_client.report.comparison import combine, missing, slower, worse
    from hf2triton_client.report.io import read_report, require_form, write_report
    from hf2triton_client.report.json_form import to_json
    from hf2triton_client.report.tables import tables
    from hf2triton_client.report.verdict import STATES, verdict

    from .console import document, say, table

    for path in outputs:
        require_form(path)
    together, comparison = combine([read_report(path) for path in files])
    asked = {"measurements": slower_by is not None, "validations": fail_if_worse}
    lacking = missing(comparison, **asked)
    lost_speed = slower(comparison, slower_by) if slower_by is not None else []
    lost_answers = worse(comparison) if fail_if_worse else []
    comparison = replace(comparison, failures=(*lost_answers, *lost_speed, *lacking))

    for path in outputs:
        write_report(together, path, comparison)
    said = verdict(together, comparison)
    say(f"{STATES[said.state][0]}. {said.summary}")
    for sentence in (*said.reasons, *said.advice, *said.cautions):
        say(f"- {sentence}")
    for own in tables(together, comparison):
        table(own.title, own.columns, own.rows)
    document(to_json(together))
    for sentence in comparison.failures:
        click.echo(f"hf2triton: {sentence}", err=True)
    if lost_answers:
        fail("the answers are worse than in the earlier run", 3)
    if lost_speed:
        fail(f"what is served is slower than in the earlier run by more than {(slower_by or 0) * 100:g}%", 1)
    if lacking:
        fail("some of it has nothing to be compared with", 1)
