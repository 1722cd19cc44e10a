"""The switches of a command: --quiet, --verbose and --json."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

_KEY = "hf2triton.switches"
#: Set: the same as --verbose.
DEBUG = "HF2TRITON_DEBUG"


@dataclass
class Switches:
    """What was asked for. `printed`: the JSON document has been printed."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    printed: bool = False


def switches() -> Switches:
    """The switches of the command that runs."""
    context = click.get_current_context(silent=True)
    found: Switches = Switches() if context is None else context.meta.setdefault(_KEY, Switches())
    return found


def is_verbose() -> bool:
    return switches().verbose or DEBUG in os.environ


def volume_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --verbose."""
    for name, help in (
        ("verbose", "Print earlier stages, log messages of libraries, and tracebacks."),
        ("quiet", "Print results and errors, but no progress."),
    ):
        function = _switch(name, help, f"-{name[0]}")(function)
    return function


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json."""
    return _switch("json", "Print the result as JSON instead of tables.")(function)


def _switch(name: str, help: str, *short: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def note(context: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            own = context.meta.setdefault(_KEY, Switches())
            setattr(own, name, True)
            if own.quiet and own.verbose:
                raise click.UsageError("--quiet and --verbose exclude each other.")

    return click.option(*short, f"--{name}", is_flag=True, expose_value=False, callback=note, help=help)


@contextmanager
def logged() -> Iterator[None]:
    """With --verbose, libraries log to stderr."""
    if not switches().verbose:
        yield
        return
    root, handler = logging.getLogger(), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


def mute_pipelines() -> None:
    """Hides the client's warnings about texts that are cut, unless the command is verbose."""
    if not is_verbose():
        logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)
