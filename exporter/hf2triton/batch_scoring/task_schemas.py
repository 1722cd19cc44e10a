"""What a row of each task is asked, and what shape its answers have in Parquet, whose columns have one type.

Answers are those that the client's pipeline gives for the row's input among others in a list. Models that embed give embeddings,
unless a row says what to compare with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf2triton_client.errors import InputError
from hf2triton_client.evaluation.datasets import IMAGE, PAIR, TEXT

from ..errors import UnknownName, UsageError
from .inputs import Row
from .options import ScoreOptions

#: Columns that may hold other things than strings.
_FREE = frozenset({"candidate_labels", "image"})


@dataclass(frozen=True)
class TaskSchema:
    """`columns`: our name -> the names that data sets use for it, the first being the input's main one; `optional`: those that
    rows need not have. `input`: what a pipeline is called with. `shape`: pyarrow and the options of the calls -> the type of an
    answer. `uniform`: makes an answer fit that type. `method`: of the pipeline, "" for the call itself. `alone`: it takes one
    input a call. `unwraps`: it gives the answer itself for a list of one. `always`: options of all calls."""

    columns: Mapping[str, tuple[str, ...]]
    input: Callable[[Row], Any]
    shape: Callable[[Any, Mapping[str, Any]], Any]
    optional: frozenset[str] = frozenset()
    uniform: Callable[[Any], Any] | None = None
    method: str = ""
    alone: bool = False
    unwraps: bool = False
    always: tuple[tuple[str, Any], ...] = ()
    example: Any = "a"

    @property
    def main(self) -> str:
        return next(iter(self.columns))


def _text(row: Row) -> Any:
    return row["text"]


def _text_or_pair(row: Row) -> Any:
    return {name: row[name] for name in ("text", "text_pair")} if "text_pair" in row else row["text"]


def _record(pa: Any, **fields: Any) -> Any:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def _label(pa: Any) -> Any:
    return _record(pa, label=pa.string(), score=pa.float64())


def _labels(pa: Any, _: Mapping[str, Any]) -> Any:
    return pa.list_(_label(pa))


def _sequence(pa: Any, _: Mapping[str, Any]) -> Any:
    return _record(pa, sequence=pa.string(), labels=pa.list_(pa.string()), scores=pa.list_(pa.float64()))


def _entities(pa: Any, options: Mapping[str, Any]) -> Any:
    alone = str(options.get("aggregation_strategy") or "none").lower() == "none"
    tag = (
        {"entity": pa.string(), "score": pa.float64(), "index": pa.int64()} if alone else {"entity_group": pa.string()}
    )
    return pa.list_(_record(pa, **{**tag, "score": pa.float64(), "word": pa.string(), **_span(pa)}))


def _span(pa: Any) -> dict[str, Any]:
    return {"start": pa.int64(), "end": pa.int64()}


def _spans(pa: Any, _: Mapping[str, Any]) -> Any:
    return pa.list_(_record(pa, score=pa.float64(), **_span(pa), answer=pa.string()))


def _tokens(pa: Any, _: Mapping[str, Any]) -> Any:
    token = _record(pa, score=pa.float64(), token=pa.int64(), token_str=pa.string(), sequence=pa.string())
    return pa.list_(pa.list_(token))


def _vector(pa: Any, _: Mapping[str, Any]) -> Any:
    return pa.list_(pa.float32())


def _a_list_a_mask(answer: Any) -> Any:
    return answer if answer and isinstance(answer[0], list) else [answer]


_IMAGES = {"image": IMAGE}
_TEXTS = {"text": TEXT}
_CANDIDATES = ("candidate_labels",)
_LABELLED = frozenset(_CANDIDATES)

#: Task -> its form.
FORMS: Mapping[str, TaskSchema] = {
    "text-classification": TaskSchema(
        {"text": TEXT, "text_pair": PAIR},
        _text_or_pair,
        lambda pa, options: _labels(pa, options) if "top_k" in options else _label(pa),
        optional=frozenset({"text_pair"}),
    ),
    "zero-shot-classification": TaskSchema(
        {**_TEXTS, "candidate_labels": _CANDIDATES}, _text, _sequence, optional=_LABELLED
    ),
    "token-classification": TaskSchema(_TEXTS, _text, _entities),
    "question-answering": TaskSchema(
        {"question": ("question",), "context": ("context",)},
        lambda row: {"question": row["question"], "context": row["context"]},
        lambda pa, options: _spans(pa, options) if options.get("top_k", 1) != 1 else _spans(pa, options).value_type,
        unwraps=True,
        example={"question": "a", "context": "a"},
    ),
    "fill-mask": TaskSchema(_TEXTS, _text, _tokens, uniform=_a_list_a_mask, unwraps=True),
    "feature-extraction": TaskSchema(
        _TEXTS,
        _text,
        lambda pa, options: pa.list_(pa.list_(_vector(pa, options))),
        uniform=lambda states: [list(state) for state in states],
        always=(("return_tensors", True),),  # lists of Python's floats take ten times the memory
    ),
    "sentence-similarity": TaskSchema(_TEXTS, _text, _vector, method="encode"),
    "text-generation": TaskSchema(_TEXTS, _text, lambda pa, _: pa.list_(_record(pa, generated_text=pa.string()))),
    "image-classification": TaskSchema(_IMAGES, lambda row: row["image"], _labels, example=b"a"),
    "image-feature-extraction": TaskSchema(_IMAGES, lambda row: row["image"], _vector, method="encode", example=b"a"),
    "zero-shot-image-classification": TaskSchema(
        {**_IMAGES, "candidate_labels": _CANDIDATES},
        lambda row: row["image"],
        lambda pa, _: pa.list_(_record(pa, score=pa.float64(), label=pa.string())),
        optional=_LABELLED,
        example=b"a",
    ),
}
#: Tasks whose models embed -> the forms that they have with a second text, and without labels.
_PAIRS = TaskSchema(
    {"text": TEXT, "text_pair": PAIR},
    lambda row: {"source_sentence": row["text"], "sentences": [row["text_pair"]]},
    lambda pa, _: pa.list_(pa.float64()),
    alone=True,
    example={"source_sentence": "a", "sentences": ["a"]},
)
_IMAGES_ALONE = TaskSchema(_IMAGES, lambda row: row["image"], _vector, method="encode_images", example=b"a")


@dataclass(frozen=True)
class ScoringOptions:
    """How the rows of one input are asked: the form of their task, and our name -> their column. `options`: of all calls."""

    form: TaskSchema
    names: Mapping[str, str]
    options: Mapping[str, Any]

    def options_of(self, row: Row) -> dict[str, Any]:
        """The options of a row's own call, beyond those of all. Raises InputError."""
        labels = row.get("candidate_labels")
        if labels is None:
            return {}
        if isinstance(labels, str):
            labels = [label for label in labels.split(",") if label.strip()]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise InputError(f"candidate_labels should be a list of strings, not {labels!r:.60}")
        return {"candidate_labels": [label.strip() for label in labels]}

    def taken(self, row: Row, base: Path) -> Row:
        """A row under our names, without what is null. An empty text is one: pipelines say what they think of it. Raises
        InputError."""
        taken = {name: row[column] for name, column in self.names.items() if row.get(column) is not None}
        for name, column in self.names.items():
            said = name if name == column else f"{column}, which is the {name}"
            if name not in self.form.optional and (taken.get(name) is None or (name in _FREE and not taken[name])):
                raise InputError(f"it has no {said}")
            if name in taken and name not in _FREE and not isinstance(taken[name], str):
                raise InputError(f"{column} should be a string, not {taken[name]!r:.60}")
        return taken | {"image": _image(taken["image"], base)} if "image" in taken else taken


def form_of(task: str, options: ScoreOptions, present: Sequence[str]) -> ScoringOptions:
    """How rows with certain columns are asked. Raises UsageError."""
    if task not in FORMS:
        raise UnknownName("the task", task, FORMS)
    form = FORMS[task]
    if task == "sentence-similarity" and "text_pair" in options.columns:
        form = _PAIRS
    labelled = options.labels is not None or "candidate_labels" in options.columns or _CANDIDATES[0] in present
    if task == "zero-shot-image-classification" and not labelled:
        form = _IMAGES_ALONE
    if options.labels is not None and _CANDIDATES[0] not in form.columns:
        raise UsageError(f"--labels is of zero-shot tasks, and the model's task is {task}")
    if task == "zero-shot-classification" and not labelled:
        raise UsageError("zero-shot-classification needs --labels, or a column candidate_labels")
    own = {name or form.main: column for name, column in options.columns.items()}
    if unknown := sorted(set(own) - set(form.columns)):
        raise UsageError(f"{task} has no column {', '.join(unknown)}; it has {', '.join(form.columns)}")
    names = {}
    for name, known in form.columns.items():
        tried = (own[name],) if name in own else known
        found = next((column for column in tried if column in present), None)
        if found is not None:
            names[name] = found
        elif name in own or name not in form.optional:
            said = f"the input has no column {' or '.join(tried)}; it has {', '.join(present)}"
            raise UsageError(said if name in own else f"{said}. Name it with --column {name}=COLUMN")
    labels = {} if options.labels is None else {"candidate_labels": options.labels}
    return ScoringOptions(form, names, {**options.options, **labels, **dict(form.always)})


def _image(value: Any, base: Path) -> str | bytes:
    """An encoded image, or where it lies: a path or URL, bytes, or a record of these as data sets have it. Raises InputError."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InputError(f"image should be a path, a URL or bytes, not {value!r:.60}")
    if value.startswith(("http://", "https://")):
        return value
    path = os.path.join(base, value)
    if not os.path.isfile(path):  # a Path's own method fails for a name that is too long
        raise InputError(f"there is no file {path[:200]}")
    return path
