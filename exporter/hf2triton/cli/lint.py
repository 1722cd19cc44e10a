"""`hf2triton lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import amount, command, fail, report_option
from .completion import entry_names
from .options import Size
from .server_options import ServerOptions, asks_server
from .switches import json_option


@click.command()
@click.argument("repository", metavar="REPO", type=click.Path(path_type=Path))
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=entry_names)
@asks_server("--server", "Also check the server at this gRPC address.", default=None)
@click.option("--gpu-memory", type=Size(), help="The memory of each GPU.  [default: the one given to export]")
@click.option("--ignore", multiple=True, metavar="RULE", help="Skip this rule. Repeatable.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@report_option
@json_option
@command
def lint(
    repository: Path, names: tuple[str, ...], server: ServerOptions, strict: bool, report: Path | None, **options: Any
) -> None:
    """Check a model repository and a server for problems.

    REPO is any Triton model repository, made by hf2triton or not. Without NAME, all its models are checked: configs, versions,
    warm-up, digests, limits, memory, the Python code that is served, and known vulnerabilities. With --server, lint also
    checks what the server allows anybody to do; for that, it does not send keys of restricted endpoints. If there are errors,
    the exit code is 1.
    """
    from ..lint import lint as run
    from .console import deliver, say, table

    server.wait_for(names)
    found = run(repository, names, url=server.url, headers=server.headers, **options)
    deliver(found.to_json(), report)
    if found.findings:
        rows = [(one.where, one.severity, one.rule, one.message) for one in found.findings]
        table(str(repository), ("where", "severity", "rule", "what"), rows)
    looked_at = amount(len(found.models), "model") + (f" and the server at {found.server}" if found.server else "")
    counts = ", ".join(amount(count, what) for what in ("error", "warning", "note") if (count := found.count(what)))
    summary = f"{looked_at}: {counts or 'nothing wrong'}"
    if not found.passed(strict):
        fail(summary, 1)
    say(summary)
