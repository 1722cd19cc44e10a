"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

from ..errors import UsageError

_UNITS = {
    "": 1,
    **{f"{letter}B": 1000 ** (index + 1) for index, letter in enumerate("KMGT")},
    **{f"{letter}IB": 1024 ** (index + 1) for index, letter in enumerate("KMGT")},
}


def read_bytes(text: str) -> int:
    """The number of bytes in a size such as 16GB (1000³ bytes each) or 16GiB (1024³). Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    size = float(match[1]) * _UNITS.get(match[2].upper(), 0) if match else 0
    if not size:
        raise UsageError(f"{text!r} is not a size above 0: it should read like 16GB, 15.5GB or 16GiB")
    return int(size)


def gigabytes(size: float) -> str:
    """A size in GB (1000³ bytes), for people."""
    return f"{size / 1e9:.2f} GB"


def mebibytes(size: float) -> str:
    """A size in MiB (1024² bytes), for people."""
    return f"{size / 2**20:,.0f} MiB"
