"""A validation that fails says which input, in the terminal, in Markdown, on the page and in JSON; through the real server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.core.layout import baseline_path
from hf2triton_client import connect
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.validate import validate


def edited(baseline: Baseline, output: str, item: int, index: object, value: float) -> Baseline:
    """With another value of PyTorch's."""
    arrays = [array.copy() for array in baseline.answers[output]]
    arrays[item][index] = value
    return replace(baseline, answers={**baseline.answers, output: tuple(arrays)})


def failures(found) -> dict:
    return {check.name: one.worst for check in found.checks for one in check.differences if not one.passed}


@pytest.fixture
def sentiment(measured) -> Baseline:
    return Baseline.load(baseline_path(Path(measured.repository), "sentiment"))


@pytest.fixture
def verses(measured) -> Baseline:
    return Baseline.load(baseline_path(Path(measured.repository), "verses"))


def test_the_input_is_named_however_it_was_asked(measured, sentiment):
    """Alone, in batches, in reverse order and beside the longest: the same input, and the row that it had in its request."""
    wrong = edited(sentiment, "logits", 12, 1, 9.5)
    with connect(measured.url) as connection:
        found = failures(validate(connection, "sentiment", wrong))
    count = len(sentiment)
    rows = {
        "one item a request": 0,
        "two items a request": 0,
        "64 items a request, the most": 12,
        "five items a request, in reverse order": (count - 1 - 12) % 5,
        "each beside the longest": 0,
        "one item a request, after all others": 0,
    }
    assert {name: worst.row for name, worst in found.items()} == rows
    for worst in found.values():
        assert (worst.item, worst.index, worst.expected, worst.reference) == (12, (1,), "9.5", "PyTorch")
        assert worst.input.startswith(f'text 12 ("{sentiment.inputs["text"][12][:20]}')
        assert worst.where.startswith("label 1 (")
        assert float(worst.served) < 9


def test_a_nan_is_named(measured, sentiment):
    """What is not a number on PyTorch's side is found as well."""
    with connect(measured.url) as connection:
        found = failures(validate(connection, "sentiment", edited(sentiment, "logits", 3, 0, np.nan)))
    assert {(worst.item, worst.index, worst.expected) for worst in found.values()} == {(3, (0,), "nan")}


def test_a_question_is_named(measured, sentiment):
    """Decoded answers that differ: the question, and what both say."""
    answers = list(sentiment.questions.answers)
    answers[4] = [{**answers[4][0], "label": "OTHER"}, *answers[4][1:]]
    wrong = replace(sentiment, questions=replace(sentiment.questions, answers=tuple(answers)))
    with connect(measured.url) as connection:
        [worst] = failures(validate(connection, "sentiment", wrong)).values()
    assert worst.item == 4
    assert worst.input.startswith(f'question 4 ("{sentiment.questions.inputs[4][:20]}')
    assert "OTHER" in worst.expected
    assert answers[0][0]["label"] not in worst.expected


def test_a_text_is_named(measured, verses):
    """Greedy texts: the prompt, the first token that is another one, both tokens, and both texts from where they differ."""
    served = int(verses.answers["token_ids"][2][5])
    other = next(token for token in range(50, 99) if token not in verses.answers["top_ids"][2][5])
    wrong = edited(edited(verses, "token_ids", 2, 5, other), "top_ids", 2, 5, other)
    answers = list(verses.questions.answers)
    answers[2] = [{"generated_text": "something else"}]
    wrong = replace(wrong, questions=replace(wrong.questions, answers=tuple(answers)))
    with connect(measured.url) as connection:
        found = failures(validate(connection, "verses", wrong))
    assert len(found) == 5
    for worst in found.values():
        assert (worst.item, worst.index, worst.where) == (2, (5,), "new token 5")
        assert worst.input.startswith(f"text 2 ({json.dumps(verses.inputs['text_input'][2], ensure_ascii=False)[:9]}")
        assert worst.expected == f'token id {other}: "something else"'
        assert worst.served.startswith(f'token id {served}: "')


def test_the_command_shows_it_everywhere(measured, sentiment, tmp_path):
    """The last line, the table, and all forms of a report name the input and both values, and say what to try."""
    edited(sentiment, "logits", 12, 1, 9.5).save(tmp_path / "wrong.safetensors")
    reports = [tmp_path / f"report.{form}" for form in ("json", "md", "html")]
    options = [word for report in reports for word in ("--report", str(report))]
    baseline = ["--baseline", str(tmp_path / "wrong.safetensors")]
    result = CliRunner().invoke(main, ["validate", "sentiment", "--url", measured.url, *baseline, *options])
    assert result.exit_code == 3, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert "sentiment at" in last
    assert 'text 12 ("' in last
    assert "row 0 of its batch, label 1 (" in last
    assert "PyTorch 9.5, served " in last
    assert "export the checkpoint again" in last
    assert "Where sentiment failed" in result.stdout
    assert result.stdout.count("text 12 (") == 6
    written = json.loads(reports[0].read_text())["validations"][0]["checks"]
    assert [one["differences"][0]["worst"]["item"] for one in written if not one["passed"]] == [12] * 6
    for report in reports[1:]:
        text = report.read_text()
        assert text.count("text 12 (") >= 7, report
        assert "9.5" in text
        assert "export the checkpoint again" in text
    again = CliRunner().invoke(main, ["report", str(reports[0])])
    assert again.exit_code == 0
    assert "text 12 (" in again.stdout
