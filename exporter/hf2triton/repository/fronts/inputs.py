"""What callers send."""

from __future__ import annotations


def decoded(what: str, value: bytes, max_bytes: int) -> str:
    """A text of at most `max_bytes`, as UTF-8. Raises ValueError, which says `what` it is."""
    if len(value) > max_bytes:
        raise ValueError(f"{what} has {len(value):,} bytes; at most {max_bytes:,} are taken")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8: {error}") from None
