"""Wording of messages."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """The first `most` names, with an ellipsis if there are more."""
    return between.join(names[:most]) + (" …" if len(names) > most else "")
