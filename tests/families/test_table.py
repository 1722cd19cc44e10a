"""Each cell of the table of families and tasks answers as PyTorch does: one of each family in process, all of them served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.families import FAMILIES
from hf2triton.validate.validation import Against, validate_entries
from hf2triton_client import connect, pipeline

from ..checkpoints.judges import GREEDY, METHODS, served
from ..conftest import CHECKPOINTS
from ..support import assert_outputs_match
from .cells import TRAINED, cells, checkpoint_of, judge, questions

#: precision -> how far scores may be from PyTorch's; None: only the parity of the export and of `validate` is asked for
ATOL = {"fp32": 1e-4, "fp16": 2e-2, "int8": None}
#: What judges are called with, and so are the pipelines.
OPTIONS = {"text-generation": GREEDY}


def test_every_cell_is_here():
    """Every family and task is in this table, or among those that the other tests export."""
    every = {(family.name, task) for family in FAMILIES.values() for task in family.tasks}
    assert {*cells(), *CHECKPOINTS} >= every


@pytest.mark.parametrize("family", sorted(TRAINED.keys() - {family for family, _ in CHECKPOINTS}))
def test_a_family(family: str, tmp_path: Path):
    """What the checkpoint was trained for, in process."""
    folder, repository = checkpoint_of(family, None, tmp_path / "checkpoint"), tmp_path / "repository"
    task = export(ExportOptions(str(folder), "model", precision="fp32", repository=repository)).task
    assert_answers(task, folder, served(task, repository, "model"), 1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # up to 24 exports, which take a while beside other work
@pytest.mark.parametrize("family", TRAINED)
def test_a_family_through_the_server(family: str, tmp_path: Path):
    """All of its tasks in all precisions, which a real server answers as PyTorch does and as was recorded."""
    from hf2triton.serving import Server

    repository = tmp_path / "repository"
    folders = {task: checkpoint_of(family, task, tmp_path / task) for _, task in cells([family])}
    for task, folder in folders.items():
        for precision in ATOL:
            name = f"{task}-{precision}"
            export(ExportOptions(str(folder), name, task=task, precision=precision, repository=repository))
    with Server(repository) as server, connect(server.url) as connection:
        for validation in validate_entries(connection, [], Against(repository=repository)):
            assert validation.passed, validation
        for task, folder in folders.items():
            for precision, atol in ATOL.items():
                if atol is not None:
                    with pipeline(task, model=f"{task}-{precision}", connection=connection) as ours:
                        method = getattr(ours, METHODS.get(task, "__call__"))
                        assert_answers(task, folder, partial(method, **OPTIONS.get(task, {})), atol)


def assert_answers(task: str, folder: Path, ours: Callable[..., Any], atol: float) -> None:
    theirs = judge(task, folder)
    for one, options in questions(task, folder, exact=atol <= ATOL["fp32"]):
        expected, actual = theirs(one, **options), ours(one, **options)
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(actual, expected, atol=atol)
        else:
            assert_outputs_match(expected, actual, atol)
