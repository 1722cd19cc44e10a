"""The command line: `hf2triton COMMAND`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 parity out of tolerance, 130 interrupted. Each command's imports wait until it
runs, so `--help` is fast and the base install suffices for commands that call a server.
"""

from __future__ import annotations

import click

from .. import __version__
from . import (
    baseline,
    bench,
    build,
    demo,
    export,
    infer,
    inspect,
    lint,
    list_entries,
    manifests,
    prune,
    publish,
    report,
    rollback,
    schema,
    score,
    serve,
    tune,
    validate,
    verify,
)
from .groups import Groups
from .switches import volume_options

#: What the user wants -> the commands for it, in the order of `--help`.
GROUPS = {
    "Make": (export.export, build.build, tune.tune),
    "Prove": (validate.validate, baseline.baseline, verify.verify, bench.bench),
    "Serve": (serve.serve, infer.infer, score.score),
    "Ship": (publish.publish, rollback.rollback, prune.prune, manifests.manifests),
    "Look": (list_entries.list_entries, inspect.inspect, lint.lint, report.report, schema.schema, demo.demo),
}


@click.group(
    cls=Groups, groups=GROUPS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="hf2triton")
@volume_options
def main() -> None:
    """Turn a Hugging Face checkpoint into a proven, fp16, Triton-served model, and call it."""
