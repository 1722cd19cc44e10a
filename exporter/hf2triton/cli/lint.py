"""`hf2triton lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, report_option
from .options import Size


@click.command()
@click.argument("repository", metavar="REPO", type=click.Path(path_type=Path))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--server", "url", metavar="URL", help="Look at the server at this gRPC endpoint as well.")
@click.option("--gpu-memory", type=Size(), help="The memory of each GPU.  [default: what entries were exported for]")
@click.option("--ignore", multiple=True, metavar="RULE", help="Leave a rule out. May be given several times.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@report_option
@command
def lint(repository: Path, names: tuple[str, ...], strict: bool, report: Path | None, **options: Any) -> None:
    """Look for what is wrong with the models of REPO, any repository of Triton's, or with NAME… alone.

    Configs, versions, warm-up, digests, bounds, memory, served code, known vulnerabilities; of a server what it lets anybody do.
    Exit code 1 if there are errors.
    """
    from ..lint import lint as run
    from .console import table, write_report

    found = run(repository, names, **options)
    write_report(report, found.to_json())
    if found.findings:
        rows = [(one.severity, one.rule, one.where, one.message) for one in found.findings]
        table(str(repository), ("severity", "rule", "where", "what"), rows)
    looked_at = amount(len(found.models), "model") + (f" and the server at {found.server}" if found.server else "")
    counts = ", ".join(amount(count, what) for what in ("error", "warning", "note") if (count := found.count(what)))
    summary = f"{looked_at}: {counts or 'nothing wrong'}"
    if not found.passed(strict):
        fail(summary, 1)
    click.echo(summary)
