"""The common part of all commands: options, and how errors end a command."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..errors import Hf2TritonError, MissingExtra

#: Top-level modules of optional dependencies -> the extra that installs them.
EXTRAS = {
    **dict.fromkeys(
        ("torch", "transformers", "optimum", "onnx", "onnx_ir", "onnxscript", "huggingface_hub", "peft", "yaml"),
        "export",
    ),
    **dict.fromkeys(("onnxruntime", "tokenizers"), "cpu"),
    "pytriton": "serve",
    "psutil": "bench",  # `serve` itself reports what it lacks
    **dict.fromkeys(("jinja2", "pydantic"), "report"),
    "PIL": "images",
    "fsspec": "publish",
    "pyarrow": "score",
    "ray": "ray",
}

url_option = click.option("--url", default="localhost:8001", show_default=True, help="The server's gRPC endpoint.")
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
    help="Write the report as .json, .md or .html, by the file's ending. May be given several times.",
)
report_option = click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as JSON."
)


def _headers(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    parted = {one: one.partition("=") for one in given}
    if wrong := [one for one, (name, _, value) in parted.items() if not (name and value)]:
        raise click.UsageError(f"--header should read NAME=VALUE, not {wrong[0]}")
    return {name: value for name, _, value in parted.values()}


header_option = click.option(
    "--header",
    "headers",
    multiple=True,
    callback=_headers,
    metavar="NAME=VALUE",
    help="Sent with each call to the server, such as a key for its control API. May be given several times.",
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns our errors into one line on stderr and their exit code. If HF2TRITON_DEBUG is set, the earlier stages and the
    traceback are shown as well."""

    @wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        from hf2triton_client.errors import ClientError, InputError

        try:
            return function(*arguments, **options)
        except ModuleNotFoundError as error:
            extra = EXTRAS.get((error.name or "").split(".")[0])
            if extra is None or "HF2TRITON_DEBUG" in os.environ:
                raise
            missing = MissingExtra(f"hf2triton {function.__name__}", extra, error.name)
            fail(str(missing), missing.exit_code)
        except (Hf2TritonError, ClientError) as error:
            if "HF2TRITON_DEBUG" in os.environ:
                click.echo(f"hf2triton: {one_line(error)}", err=True)
                raise
            code = getattr(error, "exit_code", 2 if isinstance(error, InputError) else 1)
            fail(one_line(error), code)

    return wrapper


def one_line(error: Exception) -> str:
    """An error with the failed stage and its effect on the repository; also with the earlier stages if HF2TRITON_DEBUG is
    set."""
    stage, done = getattr(error, "stage", None), getattr(error, "done", ())
    if not stage or not done:
        return str(error)
    before = f"done before: {', '.join(done)}; " if "HF2TRITON_DEBUG" in os.environ else ""
    return f"{stage}: {error} ({before}the repository is as it was)"


def amount(count: int, what: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def peak_gigabytes() -> float:
    """The peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB


def fail(message: str, code: int) -> None:
    """Ends the command with one line on stderr and an exit code."""
    click.echo(f"hf2triton: {message}", err=True)
    sys.exit(code)
