"""What a rule finds, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: The worst first. Errors fail a build, warnings do with --strict, notes never do.
ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """What is wrong. `where`: a file of the repository, or a key of a config. `message`: what it is and what to do next.
    `severity`: where it is not the rule's own. `more`: what the message has no room for."""

    where: str
    message: str
    severity: str | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """`check` is given everything and, by its `scope`, a "model", nothing more ("repository"), or the "server" that was seen.
    `what`: what it finds, in one line."""

    id: str
    severity: str
    scope: str
    what: str
    check: Callable[..., Iterable[Problem]]


@dataclass(frozen=True)
class Finding:
    """A problem with the rule that found it. `entry`: the model, "" for the repository or the server."""

    rule: str
    severity: str
    entry: str
    where: str
    message: str
    more: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "more": list(self.more)}
