"""`hf2triton build`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from . import interrupts
from .common import command, fail, one_line, peak_gigabytes, report_option
from .switches import json_option


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--repository", type=click.Path(path_type=Path), help="The model repository to build, in place of the one in FILE."
)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be built and why, and stop.")
@click.option("--check", is_flag=True, help="Like --plan, but exit with 1 if the repository differs from FILE.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first entry that fails.")
@report_option
@json_option
@command
def build(
    file: Path, repository: Path | None, plan_only: bool, check: bool, fail_fast: bool, report: Path | None
) -> None:
    """Build the model repository that a YAML file declares.

    Only entries that differ from FILE are built: build compares the digests of source and adapter, the options, and the
    versions of packages. Each entry appears as a whole or not at all, so you can interrupt a build and run it again. If
    entries fail, the exit code is the highest of theirs.
    """
    from ..build.build import build as run
    from ..build.file import read_build_file
    from ..build.plan import plan_build
    from .console import deliver, document, progress, progress_of, say, table, write_report
    from .tables import build_table, counted

    began = time.monotonic()
    declared = read_build_file(file, repository)
    with progress() as advance:
        plan = plan_build(declared, advance)
    table(*build_table(plan))
    planned = {"plan": plan.to_json()}
    write_report(report, planned)
    if check or plan_only:
        document(planned)
    if check and plan.differs:
        fail(f"{declared.repository} is not what {file} declares: {counted(plan.counts)}", 1)
    if check or plan_only:
        say(f"{file}: {counted(plan.counts)}")
        impossible = [entry.error.exit_code for entry in plan.entries if entry.error is not None]
        sys.exit(max(impossible, default=0))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    results, interrupted = [], False
    try:
        with _terminated_as_interrupted(), progress_of(plan.pending) as advance_of:
            for result in run(plan, advance_of, fail_fast):
                results.append(result)  # noqa: PERF402 – those before an interrupt count
    except KeyboardInterrupt:
        interrupted = True
    failed = {result.name: result.error for result in results if result.error is not None}
    for name, error in failed.items():
        click.echo(f"hf2triton: {name}: {one_line(error)}", err=True)
    built = {**planned, "built": {result.name: result.to_json() for result in results}}
    deliver(built, report)
    counts = {
        "built": len(results) - len(failed),
        "unchanged": plan.counts.get("unchanged", 0),
        f"failed ({', '.join(failed)})": len(failed),
        "left to build, run it again": plan.pending - len(results),
    }
    stopped = "interrupted, " if interrupted else ""
    seconds = time.monotonic() - began
    say(f"{file}: {stopped}{counted(counts)}, {seconds:.0f} s, {peak_gigabytes():.2f} GB at its peak")
    interrupts.check()
    code = max([int(interrupted), *(error.exit_code for error in failed.values())])
    if code:
        sys.exit(code)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Makes SIGTERM act like Ctrl-C: half-finished work is undone on the way out."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
