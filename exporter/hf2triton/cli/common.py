"""The common part of all commands: options, and how errors end a command."""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from ..errors import Hf2TritonError, MissingExtra
from . import interrupts
from .extras import extra_for, missing_module
from .switches import is_verbose, logged, volume_options

repository_option = click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="The model repository.",
)
place_option = click.option(
    "--repository",
    "place",
    default="model_repository",
    show_default=True,
    help="The model repository: a folder, or a URL such as s3://bucket/folder.",
)
reports_option = click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report to this .json, .md or .html file. Repeatable.",
)
report_option = click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this JSON file."
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --verbose, and turns our errors into one line on stderr and their exit code."""

    @volume_options
    @wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        with interrupts.undone(), logged():
            from hf2triton_client.errors import ClientError, InputError

            try:
                return function(*arguments, **options)
            except ModuleNotFoundError as error:
                name, module = function.__name__, missing_module(error)
                extra = extra_for(name, module)
                if extra is None:
                    raise
                missing = MissingExtra(f"hf2triton {name}", extra, module)
                _end(missing, missing.exit_code)
            except (Hf2TritonError, ClientError) as error:
                _end(error, getattr(error, "exit_code", 2 if isinstance(error, InputError) else 1))

    return wrapper


def _end(error: Exception, code: int) -> NoReturn:
    """Ends the command with an error, and its traceback if the command is verbose."""
    interrupts.check()
    if is_verbose():
        traceback.print_exc()
    fail(one_line(error), code)


def one_line(error: Exception) -> str:
    """An error with the failed stage and its effect on the repository; also with the earlier stages if the command is
    verbose."""
    stage, done = getattr(error, "stage", None), getattr(error, "done", ())
    if not stage or not done:
        return str(error)
    before = f"done before: {', '.join(done)}; " if is_verbose() else ""
    return f"{stage}: {error} ({before}the repository is as it was)"


def amount(count: int, what: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def peak_gigabytes() -> float:
    """The peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with one line on stderr and an exit code. With --json, stdout has a document nevertheless."""
    from .console import document_of_error

    document_of_error(message, code)
    click.echo(f"hf2triton: {message}", err=True)
    sys.exit(code)
