"""Turns labelled data into questions for a pipeline, in the form of each task."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .questions import Questions
from .rows import Row, read_rows


@dataclass(frozen=True)
class DatasetForm:
    """The form of a task's rows.

    `columns`: name -> the names that data sets use for it; the first name that the file has is used. `optional`: columns that
    files need not have. `input`: the input of the pipeline. `label`: the right answer, None if the row has none. `empty`:
    columns whose texts may be empty. `options`: for all calls; `each`: for one call, made from its row, its label and all
    labels. `method`: the pipeline's method. `input`, `label` and `each` raise InputError.
    """

    columns: Mapping[str, tuple[str, ...]]
    input: Callable[[Row], Any]
    label: Callable[[Row], Any]
    optional: frozenset[str] = frozenset({"label"})
    each: Callable[[Row, Any, Sequence[str]], Mapping[str, Any]] | None = None
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    empty: frozenset[str] = frozenset()


def _class(row: Row) -> str | int | None:
    """One label, by name or by number."""
    label = row.get("label")
    if label is None or label == "":
        return None
    if isinstance(label, float) and label.is_integer():
        return int(label)
    if not isinstance(label, (str, int)):
        raise InputError(f"label should be one label, by name or by number, not {label!r}")
    return label


def _name(row: Row) -> str | None:
    """A label or token by name. The name may look like a number."""
    label = _class(row)
    return None if label is None else str(label).strip()


def _candidates(row: Row, label: str | None, known: Sequence[str]) -> Mapping[str, Any]:
    """The labels to choose from: the row's labels, as a list or separated by commas, or else all labels that occur."""
    own = row.get("candidate_labels") or known
    own = own.split(",") if isinstance(own, str) else own
    own = [str(one).strip() for one in own]
    if not own:
        raise InputError("there is nothing to choose among: zero-shot tasks need a column label, or candidate_labels")
    if label is not None and label not in own:
        raise InputError(f"its label {label!r} is not one of its candidate_labels, {', '.join(own)}")
    return {"candidate_labels": own}


def _words(row: Row) -> str:
    words = row["words"]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"words should be a list of strings, not {words!r:.60}")
    spaced = next((word for word in words if " " in word), None)
    if spaced is not None:
        raise InputError(f"the word {spaced!r} has a space in it; words are those between spaces")
    return " ".join(words)


def _tags(row: Row) -> list[Any] | None:
    tags = row.get("label")
    if tags is None or tags == "":
        return None
    if not isinstance(tags, list):
        raise InputError(f"label should be a list with a label for each word, not {tags!r:.60}")
    if not all(isinstance(tag, (str, int)) for tag in tags):
        raise InputError(f"labels should be names or numbers, not {tags!r:.60}")
    if len(tags) != len(row["words"]):
        raise InputError(f"it has {len(row['words'])} words and {len(tags)} labels")
    return tags


def _right_answers(row: Row) -> list[str] | None:
    """All right answers; an empty list if the question has no answer. Accepts a text, a list of texts, and SQuAD's
    `{"text": […]}` and `[{"text": …}]`."""
    answer = row.get("label")
    if answer is None:
        return None
    answer = answer.get("text", []) if isinstance(answer, Mapping) else answer
    answers = answer if isinstance(answer, list) else [answer]
    answers = [one.get("text", "") if isinstance(one, Mapping) else one for one in answers]
    wrong = next((one for one in answers if not isinstance(one, (str, int, float))), None)
    if wrong is not None:
        raise InputError(f"an answer should be a string, not {wrong!r:.60}")
    return [str(one) for one in answers if one != ""]


def _similarity(row: Row) -> float | None:
    label = row.get("label")
    if label is None or label == "":
        return None
    try:
        score = float(label)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"label should be a number that says how similar the texts are, not {label!r:.60}")
    return score


def text(row: Row) -> Any:
    """A row's text."""
    return row["text"]


def question(row: Row) -> Any:
    """A row's question, with the context that holds its answer."""
    return {"question": row["question"], "context": row["context"]}


def text_or_pair(row: Row) -> Any:
    """A row's text, or both texts of a pair."""
    return {name: row[name] for name in ("text", "text_pair")} if "text_pair" in row else row["text"]


def _query_and_documents(row: Row) -> dict[str, Any]:
    """A row's query with its documents: those in one column, or the relevant ones and then the others."""
    documents = _documents(row, "documents") or [*_documents(row, "positive"), *_documents(row, "negative")]
    if not documents:
        raise InputError("it has no documents: give the columns documents and relevance, or positive and negative")
    return {"query": row["query"], "documents": documents}


def _documents(row: Row, column: str) -> list[str]:
    """A text, or a list of texts."""
    given = row.get(column) or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InputError(f"{column} should be a string or a list of strings, not {given!r:.60}")
    return given


def _relevance(row: Row) -> list[float] | None:
    """How relevant each document is, 0 for not at all."""
    documents = _documents(row, "documents")
    if not documents:
        return [1.0] * len(_documents(row, "positive")) + [0.0] * len(_documents(row, "negative"))
    label = row.get("label")
    if label is None or label == "":
        return None
    if not isinstance(label, list) or not all(isinstance(one, (int, float)) and one >= 0 for one in label):
        raise InputError(f"relevance should be a list of numbers of 0 or more, not {label!r:.60}")
    if len(label) != len(documents):
        raise InputError(f"it has {len(documents)} documents and the relevance of {len(label)}")
    return [float(one) for one in label]


def _image(row: Row) -> str:
    if not Path(row["image"]).is_file():
        raise InputError(f"there is no file {row['image']}")
    return str(row["image"])


TEXT = ("text", "sentence", "sentence1", "premise", "review", "content")
PAIR = ("text_pair", "sentence2", "hypothesis")
_LABEL = ("label", "labels", "class", "category")
IMAGE = ("image", "file_name", "path")
QUESTION = {"question": ("question",), "context": ("context",)}

QUERY, DOCUMENT = ("query", "question", "anchor"), ("document", "passage", "text", "text_pair")

_FORMS: Mapping[str, DatasetForm] = {
    "text-classification": DatasetForm(
        {"text": TEXT, "text_pair": PAIR, "label": _LABEL},
        text_or_pair,
        _class,
        optional=frozenset({"text_pair", "label"}),
        empty=frozenset({"text", "text_pair"}),
        options={"top_k": None},
    ),
    "zero-shot-classification": DatasetForm(
        {"text": TEXT, "label": ("label", "class", "category"), "candidate_labels": ("candidate_labels", "labels")},
        text,
        _name,
        optional=frozenset({"label", "candidate_labels"}),
        each=_candidates,
    ),
    "token-classification": DatasetForm(
        {"words": ("words", "tokens"), "label": ("labels", "tags", "ner_tags", "label")},
        _words,
        _tags,
        options={"aggregation_strategy": "first"},
    ),
    "question-answering": DatasetForm(
        {**QUESTION, "label": ("answers", "answer", "label")},
        question,
        _right_answers,
        options={"handle_impossible_answer": True},
    ),
    "fill-mask": DatasetForm({"text": TEXT, "label": ("token", "target", *_LABEL)}, text, _name),
    "rerank": DatasetForm(
        {
            "query": QUERY,
            "documents": ("documents", "passages"),
            "positive": ("positive",),
            "negative": ("negative",),
            "label": ("relevance", "labels", "label"),
        },
        _query_and_documents,
        _relevance,
        optional=frozenset({"documents", "positive", "negative", "label"}),
    ),
    "sentence-similarity": DatasetForm(
        {"text": TEXT, "text_pair": PAIR, "label": ("score", "similarity", *_LABEL)},
        lambda row: {"source_sentence": row["text"], "sentences": [row["text_pair"]]},
        _similarity,
        empty=frozenset({"text", "text_pair"}),
    ),
    "text-generation": DatasetForm({"text": TEXT}, text, lambda row: None, optional=frozenset(), method="logprobs"),
    "image-classification": DatasetForm({"image": IMAGE, "label": _LABEL}, _image, _class),
    "zero-shot-image-classification": DatasetForm(
        {"image": IMAGE, "label": _LABEL, "candidate_labels": ("candidate_labels",)},
        _image,
        _name,
        optional=frozenset({"label", "candidate_labels"}),
        each=_candidates,
    ),
}
#: Columns whose cells may be empty, and columns whose cells in CSV may be JSON lists or objects.
_MAY_BE_EMPTY = frozenset({"label", "candidate_labels"})
_MAY_BE_JSON = _MAY_BE_EMPTY | {"words", "documents", "positive", "negative"}


def read_questions(path: Path, task: str, columns: Mapping[str, str] | None = None) -> Questions:
    """The rows of a file as questions to a model of a task. `columns`: our name -> the file's name, for files with other names.

    Image paths are relative to the file. Raises InputError, which names the row; rows are counted from 0.
    """
    if task not in _FORMS:
        raise InputError(f"no labelled data are read for {task}; known are {', '.join(sorted(_FORMS))}")
    form = _FORMS[task]
    own = dict(columns or {})
    unknown = sorted(set(own) - set(form.columns))
    if unknown:
        raise InputError(f"{task} has no column {', '.join(unknown)}; it has {', '.join(form.columns)}")
    given = read_rows(path)
    names = _names(form, own, given, path)
    rows = _each_row(path, lambda row: _taken(row, names, form.empty, path), given)
    inputs, labels = (_each_row(path, make, rows) for make in (form.input, form.label))
    without = [index for index, label in enumerate(labels) if label is None]
    if 0 < len(without) < len(labels):
        raise InputError(f"row {without[0]} of {path} has no label, as {len(without)} of {len(labels)} rows have none")
    each: list[Any] = []
    if (options_of := form.each) is not None:
        known = [] if without else sorted(set(labels))
        each = _each_row(path, lambda row, label: options_of(row, label, known), rows, labels)
    return Questions(
        tuple(inputs), form.options, form.method, labels=() if without else tuple(labels), each=tuple(each)
    )


def _each_row(path: Path, make: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """The result of `make` for each row. Raises InputError, with the row's number."""
    made = []
    for index, values in enumerate(zip(*columns, strict=True)):
        try:
            made.append(make(*values))
        except InputError as error:
            raise InputError(f"row {index} of {path}: {error}") from None
    return made


def _names(form: DatasetForm, own: Mapping[str, str], rows: Sequence[Row], path: Path) -> dict[str, str]:
    """Our name -> the file's name, for the columns that occur in any row. Raises InputError."""
    present = dict.fromkeys(column for row in rows for column in row)
    names = {}
    for name, known in form.columns.items():
        tried = [own[name]] if name in own else known
        found = next((one for one in tried if one in present), None)
        if found is not None:
            names[name] = found
        elif name in own or name not in form.optional:
            raise InputError(f"{path} has no column {' or '.join(tried)}; it has {', '.join(map(str, present))}")
    return names


def _taken(row: Row, names: Mapping[str, str], empty: frozenset[str], path: Path) -> Row:
    """A row under our names, without empty values. Texts in `empty` columns may be empty, except in CSV. Raises InputError."""
    taken = {name: row[column] for name, column in names.items() if row.get(column) is not None}
    if path.suffix.lower() == ".csv":
        taken |= {name: _cell(value) for name, value in taken.items() if name in _MAY_BE_JSON}
        empty = frozenset()
    for name, column in names.items():
        if name in _MAY_BE_EMPTY:
            continue
        if taken.get(name) in ((None, []) if name in empty else (None, "", [])):
            raise InputError(f"it has no {name}" if name == column else f"it has no {column}, which is the {name}")
        if name not in _MAY_BE_JSON and not isinstance(taken[name], str):
            raise InputError(f"{column} should be a string, not {taken[name]!r:.60}")
    if "image" in taken:
        taken["image"] = str((path if path.is_dir() else path.parent) / taken["image"])
    return taken


def _cell(value: str) -> Any:
    """A CSV cell. JSON lists and objects (words, tags, several answers) are parsed."""
    if value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:  # a text that happens to begin like JSON
            return value
    return value
