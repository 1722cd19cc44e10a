"""The command line: `hf2triton COMMAND`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 parity out of tolerance. Imports of whatever a command needs wait until
it runs, so that `--help` is fast and the base install suffices for the commands that call a server.
"""

from __future__ import annotations

import click

from .. import __version__
from . import deploying, linting, looking, making, measuring, proving, publishing, reporting, scoring, serving


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hf2triton")
def main() -> None:
    """Turn a Hugging Face checkpoint into a proven, fp16, Triton-served model, and call it."""


for _command in (
    making.export,
    making.build,
    serving.serve,
    proving.validate,
    proving.baseline,
    proving.verify,
    measuring.bench,
    measuring.tune,
    reporting.report,
    reporting.schema,
    looking.infer,
    scoring.score,
    looking.list_entries,
    looking.inspect,
    linting.lint,
    deploying.manifests,
    publishing.publish,
    publishing.rollback,
    publishing.prune,
    serving.demo,
):
    main.add_command(_command)
