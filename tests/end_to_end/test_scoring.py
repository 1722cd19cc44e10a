"""Large sets scored by a model of each task: what JSON lines and Parquet say is what the pipeline answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from hf2triton.batch_scoring import ScoreOptions, score
from hf2triton_client import pipeline

from ..conftest import asset, entry_name
from ..support import TEXTS, assert_outputs_match

IMAGES = sorted((asset("vit", "image-classification") / "sample").iterdir())[:5]
#: By how much the other rows of a call may change a score, and an element of an embedding.
ATOL = 1e-4
LABELS = "bag,coat,shirt"
PAIRS = [{"text": one, "text_pair": other} for one, other in itertools.pairwise(TEXTS)]
CONTEXTS = [{"question": "Who flew to Paris?", "context": text} for text in TEXTS[:4]]
MASKED = [{"text": text} for text in ("the [MASK] is good .", "the [MASK] is [MASK] .", "a [MASK]")]


@dataclass(frozen=True)
class Case:
    """Rows, options of the run, and what the pipeline is asked of a row. `lists`: Parquet holds a list where the pipeline
    gives its one element."""

    family: str
    task: str
    rows: list[dict[str, Any]]
    ask: Callable[[Any, dict[str, Any]], Any]
    options: dict[str, Any] = field(default_factory=dict)
    labels: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    lists: Callable[[Any], bool] = lambda answer: False
    in_column: Callable[[Any], Any] = lambda answer: answer


def _texts(family: str, task: str, ask: Callable[[Any, Any], Any], **more: Any) -> Case:
    return Case(family, task, [{"text": text} for text in TEXTS], lambda pipe, row: ask(pipe, row["text"]), **more)


def _images(family: str, task: str, ask: Callable[[Any, Any], Any], **more: Any) -> Case:
    rows = [{"image": str(image)} for image in IMAGES]
    return Case(family, task, rows, lambda pipe, row: ask(pipe, row["image"]), **more)


GREEDY = {"do_sample": False, "max_new_tokens": 5}
CASES = {
    "labels": _texts("bert", "text-classification", lambda pipe, text: pipe([text])[0]),
    "all labels": _texts(
        "bert", "text-classification", lambda pipe, text: pipe([text], top_k=None)[0], options={"top_k": None}
    ),
    "zero-shot": _texts("bert", "zero-shot-classification", lambda pipe, text: pipe([text], LABELS)[0], labels=LABELS),
    "zero-shot, labels of each row": Case(
        "bert",
        "zero-shot-classification",
        [{"text": text, "candidate_labels": ["good", "bad", "new"][index % 2 :]} for index, text in enumerate(TEXTS)],
        lambda pipe, row: pipe(row["text"], row["candidate_labels"]),
    ),
    "tokens": _texts("bert", "token-classification", lambda pipe, text: pipe(text)),
    "entities": _texts(
        "bert",
        "token-classification",
        lambda pipe, text: pipe(text, aggregation_strategy="simple"),
        options={"aggregation_strategy": "simple"},
    ),
    "spans": Case("bert", "question-answering", CONTEXTS, lambda pipe, row: pipe(row)),
    "several spans": Case(
        "bert",
        "question-answering",
        CONTEXTS,
        lambda pipe, row: pipe(row, top_k=3),
        options={"top_k": 3},
        lists=lambda answer: isinstance(answer, dict),
    ),
    "masks": Case(
        "bert",
        "fill-mask",
        MASKED,
        lambda pipe, row: pipe([row["text"]]),
        lists=lambda answer: isinstance(answer[0], dict),
    ),
    "states": _texts("bert", "feature-extraction", lambda pipe, text: pipe(text)),
    "embeddings": _texts("bert", "sentence-similarity", lambda pipe, text: pipe.encode(text).tolist()),
    "weights": _texts(
        "bert",
        "sparse-embedding",
        lambda pipe, text: pipe(text, top_k=20),
        options={"top_k": 20},
        in_column=lambda answer: list(answer.items()),
    ),
    "similarities": Case(
        "bert",
        "sentence-similarity",
        PAIRS,
        lambda pipe, row: pipe({"source_sentence": row["text"], "sentences": [row["text_pair"]]}),
        columns={"text_pair": "text_pair"},
    ),
    "scores of pairs": Case(
        "bert",
        "rerank",
        [{"query": "Anger: slow to", "document": text} for text in TEXTS],
        lambda pipe, row: pipe.predict((row["query"], row["document"]), activation_fn="Identity"),
        options={"activation_fn": "Identity"},
    ),
    "texts": Case(
        "gpt2",
        "text-generation",
        [{"text": text} for text in TEXTS[:3]],
        lambda pipe, row: pipe(row["text"], **GREEDY),
        options=GREEDY,
    ),
    "labels of images": _images("vit", "image-classification", lambda pipe, image: pipe(image)),
    "embeddings of images": _images("vit", "image-feature-extraction", lambda pipe, image: pipe.encode(image).tolist()),
    "zero-shot, images": _images(
        "clip", "zero-shot-image-classification", lambda pipe, image: pipe(image, LABELS), labels=LABELS
    ),
    "embeddings of CLIP": _images(
        "clip", "zero-shot-image-classification", lambda pipe, image: pipe.encode_images(image).tolist()
    ),
}


def check(url: str, name: str, case: Case, folder: Path) -> None:
    source = folder / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in case.rows), encoding="utf-8")
    common = {"columns": case.columns, "options": case.options, "labels": case.labels, "batch_size": 2, "shard_size": 3}
    for output in ("out.jsonl", "out.parquet"):
        summary = score(ScoreOptions(name, source, folder / output, **common), url)
        assert (summary.rows, summary.errors) == (len(case.rows), 0)
    with pipeline(model=name, url=url) as pipe:
        expected = [case.ask(pipe, row) for row in case.rows]
    lines = [json.loads(line)["answer"] for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert_outputs_match(_plain(expected), lines, ATOL)
    table = parquet.read_table(folder / "out.parquet")
    listed = [[answer] if case.lists(answer) else answer for answer in lines]
    listed = [case.in_column(answer) for answer in listed]
    assert_outputs_match(_plain(listed), table["answer"].to_pylist(), ATOL)


def _plain(answer: Any) -> Any:
    """Without the client's own kinds of lists and numpy's of numbers."""
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_plain(value) for value in answer]
    return answer.item() if isinstance(answer, np.generic) else answer


@pytest.mark.parametrize("kind", CASES)
def test_every_tasks_answers_are_the_pipelines(server, tmp_path, kind):
    """Row by row, JSON lines hold what the pipeline answers, and Parquet the same in columns of one type."""
    case = CASES[kind]
    check(server.url, entry_name(case.family, case.task, "fp32"), case, tmp_path)
