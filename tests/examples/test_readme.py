"""The README of the examples names all of them."""

from __future__ import annotations

import re

from .running import EXAMPLES


def test_every_example_is_listed():
    """Each file or folder has a row, and each row has a file or folder."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[`[^`]+`\]\(([^)]+)\)", text, re.MULTILINE)
    there = [path.name for path in EXAMPLES.iterdir() if path.name not in ("README.md", "__pycache__")]
    assert sorted(name.split("/")[0] for name in listed) == sorted(there)
    assert all((EXAMPLES / name).exists() for name in listed)
