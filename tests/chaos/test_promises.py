"""docs/explanation/promises.md names tests and faults that there are, and all faults."""

import re
from pathlib import Path

from .faults import all_faults

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "explanation" / "promises.md").read_text(encoding="utf-8")


def test_each_promise_is_tested():
    """By a test that is there, or by a file of tests."""
    known = {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert set(re.findall(r"`(test_\w+)`", TEXT)) <= known
    assert all((TESTS.parent / path).is_file() for path in re.findall(r"`(tests/[\w/]+\.py)`", TEXT))


def test_each_fault_breaks_a_promise():
    """All faults that are injected are named, and no others."""
    rows = [line.rpartition("chaos: ")[2] for line in TEXT.splitlines() if "`chaos: " in line]
    rows = [re.sub(r"\b(test_\w+|tests/[\w/.]+)", "", f"`{row}") for row in rows]
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} - {"chaos"} == set(all_faults())
