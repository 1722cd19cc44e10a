"""Every odd checkpoint of the tables, exported and asked, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf2triton.core.options import ExportOptions
from hf2triton.errors import Hf2TritonError
from hf2triton.export.pipeline import export

from ..support import ASSETS, assert_outputs_match, snapshot
from . import (
    adapters,
    biases,
    embeddings,
    generation,
    images,
    labels,
    rerankers,
    roberta,
    sentences,
    tokens,
    vision,
    weights,
)
from .case import Case, Equal, Refused
from .judges import judge_of, served

TABLES = (
    *(adapters, biases, embeddings, generation, images, labels),
    *(rerankers, roberta, sentences, tokens, vision, weights),
)
CASES = [case for table in TABLES for case in table.CASES]
#: How many of a table's exports run with `make test`: the first, so that what was once wrong stands first. The others run with
#: `make test-slow`, refusals always.
QUICK = 1
#: The stage in which everything is looked at that needs no torch.
EARLY = "look at the files"


def _marked() -> Iterator[Any]:
    for table in TABLES:
        exports = [case for case in table.CASES if isinstance(case.outcome, Equal)]
        for case in table.CASES:
            slow = case in exports[QUICK:]
            yield pytest.param(case, id=case.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("case", _marked())
def test_a_checkpoint(case: Case, tmp_path: Path):
    """The checkpoint gives the judge's answers when it is served, or is refused with words that help."""
    folder = Path(shutil.copytree(ASSETS / case.asset, tmp_path / "checkpoint"))
    changed = case.change(folder)
    folder = changed if isinstance(changed, Path) else folder
    options = ExportOptions(str(folder), "model", precision="fp32", repository=tmp_path / "repository")
    options = replace(options, **{name: _placed(value, folder) for name, value in case.options.items()})
    if isinstance(case.outcome, Equal):
        _assert_equal(case.outcome, folder, options)
    else:
        _assert_refused(case.outcome, options)


def test_the_tables_have_no_name_twice():
    """Each row can be run by its name alone."""
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


def _placed(value: object, folder: Path) -> object:
    return value.format(folder=folder) if isinstance(value, str) else value


def _assert_equal(outcome: Equal, folder: Path, options: ExportOptions) -> None:
    report = export(options)
    judge = outcome.judge(folder) if outcome.judge else judge_of(report.task, folder)
    ours = served(report.task, options.repository, options.name, outcome.method)
    for one in outcome.inputs:
        expected, actual = judge(one, **outcome.options), ours(one, **outcome.options)
        assert_outputs_match(expected, actual, outcome.atol)


def _assert_refused(outcome: Refused, options: ExportOptions) -> None:
    before = snapshot(options.repository)
    with pytest.raises(Hf2TritonError) as caught:
        export(options)
    assert snapshot(options.repository) == before
    assert caught.value.exit_code == outcome.exit_code
    message = str(caught.value)
    assert "\n" not in message
    missing = [word for word in outcome.words if word not in message]
    assert not missing, f"{message!r} lacks {missing}"
    assert (caught.value.stage == EARLY) == outcome.early, caught.value.stage
