"""Every family in every precision answers the same alone, in a batch, elsewhere in it, with more padding, and after others."""

from __future__ import annotations

import pytest

from hf2triton.core.layout import baseline_path, frontends_of
from hf2triton_client import connect
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.validate import validate

from ..conftest import PRECISIONS, SERVED, WITH_BLS, WITH_INT8, entry_name

NAMES = [
    *(entry_name(*pair, precision) for pair in SERVED for precision in PRECISIONS),
    *(entry_name(*pair, "int8") for pair in WITH_INT8),
    *(entry_name(*pair, "fp16", "bls") for pair in WITH_BLS),
]


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_does_not_depend_on_its_company(server, repository, name):
    """All checks of `validate` pass: batches of 1, 2, 5 and the most, in reverse, beside the longest, and once more; and the
    decoded answers are those that transformers' own pipeline gave at the export."""
    frontends = frontends_of(repository, name)
    with connect(server.url) as connection:
        for frontend in frontends:
            baseline = Baseline.load(baseline_path(repository, frontend))
            result = validate(connection, frontend, baseline)
            answers = [check.differences[0] for check in result.checks if check.name.startswith("answers")]
            expected = 5 if baseline.task == "text-generation" else 11 + 3 * len(baseline.own)
            assert len(result.checks) - len(answers) == expected
            assert all(one.rows for one in answers)
            assert bool(answers) == (frontend == frontends[-1] and "feature-extraction" not in name), frontend
            failed = [
                (check.name, one.breaches) for check in result.checks for one in check.differences if one.breaches
            ]
            assert not failed, frontend
