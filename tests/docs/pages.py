"""The documentation's pages, as tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def reference(name: str) -> str:
    """The text of a page of the reference."""
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next one of its level or above."""
    level = len(heading.split()[0])
    return re.split(rf"^#{{1,{level}}} ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in a text, without their heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        found += [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    return found


def names(cells: list[str]) -> list[str]:
    """The names that stand as code in cells."""
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def files() -> Iterator[Path]:
    """The files that are documented: code, containers and tests, without data."""
    for folder, endings in {"exporter": (".py",), "clients": (".py",), "tests": (".py",), "docker": ("",)}.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.name.endswith(endings) and "__pycache__" not in path.parts:
                yield path
