"""Triton releases: every month has a row, and a graph fits the one it is made for."""

import pytest

from hf2triton.errors import UnknownName
from hf2triton.graph.release import IR_VERSION, OPSET, RELEASES, find_release, opset_for


def months(first: str, last: str) -> list[str]:
    year, month = map(int, first.split("."))
    found = []
    while f"{year:02}.{month:02}" <= last:
        found.append(f"{year:02}.{month:02}")
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return found


def test_the_table_has_no_gaps():
    """Every month from the first release to the last belongs to exactly one row, and versions only grow."""
    covered = [month for row in RELEASES for month in months(row.first, row.last)]
    assert covered == months(RELEASES[0].first, RELEASES[-1].last)
    assert [row.ir_version for row in RELEASES] == sorted(row.ir_version for row in RELEASES)
    assert [row.opset for row in RELEASES] == sorted(row.opset for row in RELEASES)


@pytest.mark.parametrize(("name", "runtime"), [("23.12", "1.16.3"), ("25.01", "1.20.1"), ("26.08", "1.28.0")])
def test_a_release_is_found(name, runtime):
    """A month inside a row's range finds the row."""
    assert find_release(name).onnxruntime == runtime


@pytest.mark.parametrize("name", ["23.11", "26.09", "24.13", "24.5", "latest", "", "2024.05"])
def test_an_unknown_release_lists_the_known(name):
    """A release that is not in the table is refused, with the ranges that are."""
    with pytest.raises(UnknownName, match="23.12–24.02"):
        find_release(name)


def test_the_default_loads_from_2405_on():
    """Opset 20 and IR 10 load on every release from 24.05 on, which the default promises."""
    able = [row.first for row in RELEASES if row.opset >= OPSET and row.ir_version >= IR_VERSION]
    assert able == [row.first for row in RELEASES if row.first >= "24.05"]


def test_older_releases_get_a_lower_opset():
    """For a release that loads less, the graph is exported with less."""
    assert [opset_for(find_release(name)) for name in (None, "23.12", "24.03", "26.08")] == [20, 19, 20, 20]
