"""Encoders in int8 are right as often as in fp32, on held-out samples with labels, through the real server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hf2triton_client import pipeline

from ..conftest import WITH_INT8, asset, entry_name
from ..support import sample_of

#: How many more answers of a sample of 60 may be wrong.
MORE_WRONG = 1


def _labels(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    return [answer["label"] == row["label"] for answer, row in zip(ask([r["text"] for r in rows]), rows, strict=True)]


def _words(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    right = []
    for row in rows:
        found = {entity["start"]: entity["entity"] for entity in ask(" ".join(row["words"]), ignore_labels=[])}
        starts = [len(" ".join([*row["words"][:index], ""])) for index in range(len(row["words"]))]
        right.append(all(found.get(start) == label for start, label in zip(starts, row["labels"], strict=True)))
    return right


def _answers(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    answers = ask(asked, handle_impossible_answer=True)
    return [answer["answer"] == row["answer"] for answer, row in zip(answers, rows, strict=True)]


def _masks(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    return [row["token"] in [entry["token_str"] for entry in ask(row["text"])] for row in rows]


def _images(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    answers = ask([str(folder / row["image"]) for row in rows])
    return [answer[0]["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)]


def _labelled_images(ask: Any, folder: Any, rows: Sequence[dict]) -> list[bool]:
    labels = sorted({row["label"] for row in rows})
    answers = ask([str(folder / row["image"]) for row in rows], candidate_labels=labels)
    return [answer[0]["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)]


#: task -> which rows of a sample are answered rightly
RIGHT: dict[str, Callable[..., list[bool]]] = {
    "text-classification": _labels,
    "token-classification": _words,
    "question-answering": _answers,
    "fill-mask": _masks,
    "image-classification": _images,
    "zero-shot-image-classification": _labelled_images,
}


@pytest.mark.parametrize(("family", "task"), [pair for pair in WITH_INT8 if pair[0] != "gpt2"])
def test_int8_is_right_as_often_as_fp32(server, family, task):
    """Nearly the same answers, and no more than one of sixty is lost."""
    folder = asset(family, task)
    rows = sample_of(folder)
    right = {}
    for precision in ("fp32", "int8"):
        with pipeline(model=entry_name(family, task, precision), url=server.url) as ask:
            right[precision] = RIGHT[task](ask, folder, rows)
    print(f"{family} {task}: fp32 {sum(right['fp32'])}, int8 {sum(right['int8'])} of {len(rows)} right")
    assert sum(right["int8"]) >= sum(right["fp32"]) - MORE_WRONG
    assert sum(one == other for one, other in zip(*right.values(), strict=True)) >= len(rows) - 4
