"""Labelled data as questions: JSON lines, JSON, CSV, or a folder of images by label."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InputError
from .questions import Questions

Row = Mapping[str, Any]
#: Files that a folder of images may hold beside them.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Form:
    """How a task's rows look.

    `columns`: name -> the names that data sets use for it, of which the first that a file has is taken; `optional`: those
    that rows need not have. `input`: what a pipeline is called with. `label`: what would be right, None where the row does
    not say. `options`: of all calls; `each`: of one call each. `method`: of the pipeline.
    """

    columns: Mapping[str, tuple[str, ...]]
    input: Callable[[Row], Any]
    label: Callable[[Row], Any] = lambda row: row.get("label")
    optional: frozenset[str] = frozenset({"label"})
    each: Callable[[Sequence[Row]], Sequence[Mapping[str, Any]]] = lambda rows: ()
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


_TEXT = ("text", "sentence", "sentence1", "premise", "review", "content")
_PAIR = ("text_pair", "sentence2", "hypothesis")
_LABEL = ("label", "labels", "class", "category")
_IMAGE = ("image", "file_name", "path")


def _candidates(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """The labels that each row chooses among: those that it names, or all that occur. Raises InputError."""
    found = sorted({row["label"] for row in rows if row.get("label") is not None})
    each = [{"candidate_labels": list(row.get("candidate_labels") or found)} for row in rows]
    if not all(own["candidate_labels"] for own in each):
        raise InputError("zero-shot tasks need a column label, or candidate_labels")
    return each


def _entities(row: Row) -> Any:
    """The tags of a row's words. Raises InputError."""
    tags = row.get("label")
    if any(" " in word for word in row["words"]):
        raise InputError("a word has a space in it; words are those between spaces")
    if tags is not None and len(tags) != len(row["words"]):
        raise InputError(f"a row has {len(row['words'])} words and {len(tags)} labels")
    return tags


def _right_answers(row: Row) -> Any:
    """All answers that are right: a text, a list of texts, or SQuAD's {"text": […]}; none where it cannot be answered."""
    answer = row.get("label")
    answer = answer.get("text", []) if isinstance(answer, Mapping) else answer
    answer = [answer] if isinstance(answer, str) else answer
    return None if answer is None else [one for one in answer if one]


_FORMS: Mapping[str, Form] = {
    "text-classification": Form(
        {"text": _TEXT, "text_pair": _PAIR, "label": _LABEL},
        lambda row: {name: row[name] for name in ("text", "text_pair")} if "text_pair" in row else row["text"],
        optional=frozenset({"text_pair", "label"}),
        options={"top_k": None},
    ),
    "zero-shot-classification": Form(
        {"text": _TEXT, "label": ("label", "class", "category"), "candidate_labels": ("candidate_labels", "labels")},
        lambda row: row["text"],
        optional=frozenset({"label", "candidate_labels"}),
        each=_candidates,
    ),
    "token-classification": Form(
        {"words": ("words", "tokens"), "label": ("labels", "tags", "ner_tags", "label")},
        lambda row: " ".join(row["words"]),
        label=_entities,
        options={"aggregation_strategy": "first"},
    ),
    "question-answering": Form(
        {"question": ("question",), "context": ("context",), "label": ("answers", "answer", "label")},
        lambda row: {"question": row["question"], "context": row["context"]},
        label=_right_answers,
        options={"handle_impossible_answer": True},
    ),
    "fill-mask": Form({"text": _TEXT, "label": ("token", "target", *_LABEL)}, lambda row: row["text"]),
    "sentence-similarity": Form(
        {"text": _TEXT, "text_pair": _PAIR, "label": ("score", "similarity", *_LABEL)},
        lambda row: {"source_sentence": row["text"], "sentences": [row["text_pair"]]},
    ),
    "text-generation": Form({"text": _TEXT}, lambda row: row["text"], optional=frozenset(), method="logprobs"),
    "image-classification": Form({"image": _IMAGE, "label": _LABEL}, lambda row: row["image"]),
    "zero-shot-image-classification": Form(
        {"image": _IMAGE, "label": _LABEL, "candidate_labels": ("candidate_labels",)},
        lambda row: row["image"],
        optional=frozenset({"label", "candidate_labels"}),
        each=_candidates,
    ),
}


def read_questions(path: Path, task: str, columns: Mapping[str, str] | None = None) -> Questions:
    """The rows of a file as questions to a model of a task; `columns`: our name -> the file's, for files that use others.

    Paths of images are relative to the file. Raises InputError, which names the row.
    """
    if task not in _FORMS:
        raise InputError(f"no labelled data are read for {task}; known are {', '.join(sorted(_FORMS))}")
    form = _FORMS[task]
    own = dict(columns or {})
    unknown = sorted(set(own) - set(form.columns))
    if unknown:
        raise InputError(f"{task} has no column {', '.join(unknown)}; it has {', '.join(form.columns)}")
    rows = _images_by_label(path) if path.is_dir() else _rows(path)
    if not rows:
        raise InputError(f"{path} holds no rows")
    names = {name: _named(name, known, own, rows[0], form, path) for name, known in form.columns.items()}
    read = []
    for index, row in enumerate(rows):
        taken = {name: row[given] for name, given in names.items() if given and row.get(given) not in (None, "", [])}
        # an empty label is one all the same
        if names.get("label") and row.get(names["label"]) is not None:
            taken["label"] = row[names["label"]]
        absent = [name for name in form.columns if name not in form.optional and name not in taken]
        if absent:
            raise InputError(f"row {index} of {path} has no {', '.join(absent)}")
        if "image" in taken:
            taken["image"] = str(path / taken["image"] if path.is_dir() else path.parent / taken["image"])
        read.append(taken)
    try:
        labels = tuple(form.label(row) for row in read)
        each = tuple(form.each(read))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    without = sum(label is None for label in labels)
    if 0 < without < len(labels):
        raise InputError(f"{path}: {without} of {len(labels)} rows have no label")
    inputs = tuple(form.input(row) for row in read)
    return Questions(inputs, form.options, form.method, labels=() if without else labels, each=each)


def _named(name: str, known: Sequence[str], own: Mapping[str, str], row: Row, form: Form, path: Path) -> str | None:
    """The file's name of a column; None where it has none and needs none. Raises InputError."""
    tried = [own[name]] if name in own else known
    found = next((one for one in tried if one in row), None)
    if found is None and (name in own or name not in form.optional):
        raise InputError(f"{path} has no column {' or '.join(tried)}; it has {', '.join(map(str, row))}")
    return found


def _rows(path: Path) -> list[Row]:
    """The rows of a file, by its ending. Raises InputError."""
    if path.suffix not in _READERS:
        raise InputError(
            f"{path} is read by its ending, which can be {', '.join(_READERS)}; or give a folder of images"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        rows = _READERS[path.suffix](text)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} should hold rows with named columns")
    return rows


def _json_lines(text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return rows


def _csv(text: str) -> list[Any]:
    """Cells that are JSON lists or objects are read as such: words, tags, several answers."""
    rows = csv.DictReader(text.splitlines(keepends=True), strict=True)
    return [{name: _cell(value) for name, value in row.items() if name is not None} for row in rows]


def _cell(value: str | None) -> Any:
    if value and value[0] in "[{":
        try:
            return json.loads(value)
        except ValueError:  # a text that begins so
            return value
    return value


_READERS: Mapping[str, Callable[[str], list[Any]]] = {
    ".jsonl": _json_lines,
    ".json": json.loads,
    ".csv": _csv,
}


def _images_by_label(folder: Path) -> list[Row]:
    """The images of a folder, whose subfolders are named after their labels."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    rows: list[Row] = []
    for path in found:
        relative = path.relative_to(folder)
        label = relative.parts[0] if len(relative.parts) > 1 else None
        rows.append({"image": str(relative), **({"label": label} if label else {})})
    return rows
