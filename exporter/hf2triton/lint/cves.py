"""Vulnerabilities of Triton that NVIDIA has published, and the release that fixes each. They are in data/cves.json, which says
when and against what it was checked.

The server reports its version, not its release; `release_of` maps one to the other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any

#: The URL of a bulletin.
_URL = "https://nvidia.custhelp.com/app/answers/detail/a_id/{}"
#: A vulnerability with at least this score is high, by CVSS 3.1.
HIGH = 7.0


@dataclass(frozen=True)
class Cve:
    """`fixed`: the first release with the fix. `since`: the first release that needs it, "" for any. `score`: NVIDIA's CVSS 3.1
    score."""

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
        """Compares releases as text, because all YY.MM have the same length."""
        return self.since <= release < self.fixed


_LIST: dict[str, Any] = json.loads(
    resources.files("hf2triton").joinpath("data").joinpath("cves.json").read_text("utf-8")
)
#: The day on which the list was last compared with NVIDIA's bulletins.
CHECKED = date.fromisoformat(_LIST["checked"])
CVES = tuple(Cve(**row) for row in _LIST["vulnerabilities"])


def known_since() -> str:
    """How old the list is, in words."""
    days = max((date.today() - CHECKED).days, 0)
    return f"vulnerabilities as known on {CHECKED.isoformat()}, {days} day{'s' * (days != 1)} ago"


def cves_of(release: str) -> list[Cve]:
    """The vulnerabilities of a release, worst first."""
    return sorted((one for one in CVES if one.affects(release)), key=lambda one: (-one.score, one.id))


def release_of(version: str) -> str | None:
    """The release that a server's version belongs to; None if it is not a version of Triton.

    A version's second number goes up by one each month: 2.51.0 is 24.10. But 25.07 is 2.59.1, so from 25.08 on, which is 2.60.0,
    it is one less (https://github.com/triton-inference-server/server/releases).
    """
    match = re.fullmatch(r"2\.(\d+)\.(\d+).*", version)
    if match is None:
        return None
    minor, patch = int(match[1]), int(match[2])
    months = minor - 51 + (minor > 59 or (minor == 59 and patch > 0))
    year, month = divmod(24 * 12 + 9 + months, 12)
    return f"{year:02}.{month + 1:02}"
