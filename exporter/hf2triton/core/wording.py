"""How messages put things into words."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """The first of many names."""
    return between.join(names[:most]) + (" …" if len(names) > most else "")
