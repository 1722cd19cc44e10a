"""The group of all commands: its help lists them by what the user wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

#: More characters than a summary has. click would otherwise cut summaries to the width of the terminal.
_WHOLE = 1000


class Groups(click.Group):
    """Commands under headings. `groups`: heading -> its commands."""

    def __init__(self, *arguments: Any, groups: Mapping[str, Sequence[click.Command]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._groups = groups
        for commands in groups.values():
            for command in commands:
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in self._groups.values() for command in commands if (name := command.name)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.commands))
        for heading, commands in self._groups.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{command.name:{widest}}", command.get_short_help_str(_WHOLE)) for command in commands]
                )
