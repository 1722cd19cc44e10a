"""Vulnerabilities of Triton that NVIDIA has published, and the release that has each fix: data/cves.json, which says when it was
checked and against what.

The server tells its version, not its release: `release_of` knows which it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any

#: Of a bulletin.
_URL = "https://nvidia.custhelp.com/app/answers/detail/a_id/{}"
#: The score from which a vulnerability is high, by CVSS 3.1.
HIGH = 7.0


@dataclass(frozen=True)
class Cve:
    """`fixed`: the first release that has the fix. `since`: the first that needs it, "" for any. `score`: CVSS 3.1, NVIDIA's."""

    id: str
    fixed: str
    score: float
    bulletin: int
    what: str
    since: str = ""

    @property
    def source(self) -> str:
        return _URL.format(self.bulletin)

    def affects(self, release: str) -> bool:
        """YY.MM of equal length compare as text."""
        return self.since <= release < self.fixed


_LIST: dict[str, Any] = json.loads(
    resources.files("hf2triton").joinpath("data").joinpath("cves.json").read_text("utf-8")
)
#: The day on which the list was last held against NVIDIA's bulletins.
CHECKED = date.fromisoformat(_LIST["checked"])
CVES = tuple(Cve(**row) for row in _LIST["vulnerabilities"])


def known_since() -> str:
    """How old the list is, in words."""
    days = max((date.today() - CHECKED).days, 0)
    return f"vulnerabilities as known on {CHECKED.isoformat()}, {days} day{'s' * (days != 1)} ago"


def cves_of(release: str) -> list[Cve]:
    """Those that a release has, the worst first."""
    return sorted((one for one in CVES if one.affects(release)), key=lambda one: (-one.score, one.id))


def release_of(version: str) -> str | None:
    """The release that a server's version belongs to; None where it is none of Triton's.

    A version's second number goes up by one each month: 2.51.0 is 24.10. But 25.07 is 2.59.1, so that from 25.08 on, 2.60.0, it
    is one less (https://github.com/triton-inference-server/server/releases).
    """
    match = re.fullmatch(r"2\.(\d+)\.(\d+).*", version)
    if match is None:
        return None
    minor, patch = int(match[1]), int(match[2])
    months = minor - 51 + (minor > 59 or (minor == 59 and patch > 0))
    year, month = divmod(24 * 12 + 9 + months, 12)
    return f"{year:02}.{month + 1:02}"
