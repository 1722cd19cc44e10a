"""What a reader meets first, outside the site: README, CONTRIBUTING, the changelog and the examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf2triton.families import FAMILIES
from hf2triton.tasks import TASKS

from .pages import ROOT

LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""")
MOST_LINES = 200


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"])
def test_links_lead_somewhere(name):
    """Each relative link names a file of the repository, and a heading of it where it names one."""
    page = ROOT / name
    for link in ("".join(pair) for pair in LINK.findall(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_readme_lists_every_family_of_a_task():
    """The table of tasks names the families that serve each, and no others."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [encoders] = re.findall(r"Text encoders are (.+?)\. ", readme, re.DOTALL)
    exported = readme.partition("## What is exported")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+)[^|]* \| ([^|]+) \|", exported, re.MULTILINE)
    told = {task: names_in(families.replace("text encoders", encoders)) for task, families in rows}
    told.pop("task")
    known = {task: {plain(name) for name, family in FAMILIES.items() if task in family.tasks} for task in TASKS}
    # with registers or without, it is one name for readers
    known = {task: {name.removesuffix("withregisters") for name in families} for task, families in known.items()}
    assert told == known


def names_in(listed: str) -> set[str]:
    """The families of a list in prose."""
    return {plain(name) for name in re.split(r",| and ", re.sub(r"\(.*?\)", "", listed))}


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
