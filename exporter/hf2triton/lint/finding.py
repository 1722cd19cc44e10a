"""Defines rules and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: Worst first. Errors fail a build, warnings fail it with --strict, notes never do.
ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """What is wrong. `where`: a file of the repository, or a key of a config. `message`: the problem and what to do next.
    `severity`: if it differs from the rule's. `more`: details that the message has no room for."""

    where: str
    message: str
    severity: str | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """`check` takes everything and, depending on `scope`, a "model", nothing more ("repository"), or the "server" that was seen.
    `what`: what the rule finds, in one line."""

    id: str
    severity: str
    scope: str
    what: str
    check: Callable[..., Iterable[Problem]]


@dataclass(frozen=True)
class Finding:
    """A problem and the rule that found it. `entry`: the model, "" for the repository or the server."""

    rule: str
    severity: str
    entry: str
    where: str
    message: str
    more: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "more": list(self.more)}
