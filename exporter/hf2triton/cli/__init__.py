"""The command line: `hf2triton COMMAND`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 parity out of tolerance. Each command's imports wait until it runs, so `--help`
is fast and the base install suffices for commands that call a server.
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hf2triton")
def main() -> None:
    """Turn a Hugging Face checkpoint into a proven, fp16, Triton-served model, and call it."""


for _command in (
    export.export,
    build.build,
    serve.serve,
    validate.validate,
    baseline.baseline,
    verify.verify,
    bench.bench,
    tune.tune,
    report.report,
    schema.schema,
    infer.infer,
    score.score,
    list_entries.list_entries,
    inspect.inspect,
    lint.lint,
    manifests.manifests,
    publish.publish,
    rollback.rollback,
    prune.prune,
    demo.demo,
):
    main.add_command(_command)
