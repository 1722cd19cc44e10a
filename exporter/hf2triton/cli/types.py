"""What options are made of, beyond click's own types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..core.sizes import read_bytes
from ..errors import UsageError


class Listed(click.ParamType):
    """Values with commas between them. `read`: makes one of a word, or raises ValueError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(self._read(word.strip()) for word in value.split(",") if word.strip()))
        except ValueError as error:
            self.fail(f"{value!r} is no list of {self.name}: {error}", param, ctx)


class Size(click.ParamType):
    """Bytes, as people write them."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return read_bytes(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


def gpu_number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word} is no number of a GPU")
    return int(word)
