"""Options made from the fields of ExportOptions, and additional click types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..core.options import Kind, Option, Place, options_at
from ..core.sizes import read_bytes
from ..errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


class Listed(click.ParamType[tuple[Any, ...]]):
    """Values separated by commas. `read`: converts a word to a value, or raises ValueError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(self._read(word.strip()) for word in value.split(",") if word.strip()))
        except ValueError as error:
            self.fail(f"{value!r} is not a list of {self.name}: {error}", param, ctx)


class Size(click.ParamType[int]):
    """Bytes, in the form people write them."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return read_bytes(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Devices(click.ParamType[str]):
    """The names of the engines. They are imported only when a name is given or listed, so other commands start without them."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._choice().convert(value, param, ctx)

    def get_metavar(self, *arguments: Any, **context: Any) -> str | None:
        return self._choice().get_metavar(*arguments, **context)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._choice().shell_complete(ctx, param, incomplete)

    def _choice(self) -> click.Choice[str]:
        from ..engines import ENGINES

        return click.Choice(list(ENGINES))


def gpu_number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word} is not the number of a GPU")
    return int(word)


def _number(option: Option) -> Any:
    return int if option.most is None else click.IntRange(option.least, option.most)


#: Kind of an option's values -> click type that reads them. `resolve` checks numbers without an upper bound, because it knows
#: the task.
_TYPES: Mapping[Kind, Callable[[Option], Any]] = {
    Kind.TEXT: lambda option: str,
    Kind.TASK: lambda option: str,
    Kind.SOURCE: lambda option: str,
    Kind.RELEASE: lambda option: str,
    Kind.CHOICE: lambda option: click.Choice(list(option.choices)),
    Kind.DEVICE: lambda option: Devices(),
    Kind.NUMBER: _number,
    Kind.NUMBERS: lambda option: Listed("GPU numbers", gpu_number),
    Kind.SIZE: lambda option: Size(),
    Kind.FILE: lambda option: click.Path(dir_okay=False, path_type=Path),
    Kind.FILE_OR_FOLDER: lambda option: click.Path(path_type=Path),
    Kind.FLAG: lambda option: bool,
    Kind.YES_OR_NO: lambda option: bool,
}


def export_options(function: Function) -> Function:
    """Adds an option for each field of ExportOptions that the command line supports, in order."""
    for name, (option, default) in reversed(options_at(Place.COMMAND).items()):
        flag = f"--{name.replace('_', '-')}"
        both = f"{flag}/--no-{flag.removeprefix('--')}"
        stated = f"  [default: {option.default}]" if option.default else ""
        function = click.option(
            both if option.kind is Kind.YES_OR_NO else flag,
            type=_TYPES[option.kind](option),
            is_flag=True if option.kind is Kind.FLAG else None,
            default=default,
            show_default=not stated and default is not None and option.kind is not Kind.FLAG,
            help=f"{option.help}{stated}",
        )(function)
    return function
