"""The question that each task asks about a row, and the form of its answers in Parquet, whose columns have one type.

Answers are those that the client's pipeline returns for the row's input in a list of inputs. Embedding models return
embeddings, unless a row says what to compare with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf2triton_client.errors import InputError

from ..errors import UnknownName, UsageError
from ..tasks import TASKS
from ..tasks.base import AnswerSchema
from ..tasks.common.schemas import CANDIDATES
from .inputs import Row
from .options import ScoreOptions

#: Columns that may hold values other than strings.
_FREE = frozenset({"candidate_labels", "image", "sentences", "documents"})


@dataclass(frozen=True)
class ScoringOptions:
    """How to ask the rows of an input: the schema of the task, and our name -> the input's column. `options`: for all calls."""

    form: AnswerSchema
    names: Mapping[str, str]
    options: Mapping[str, Any]

    def options_of(self, row: Row) -> dict[str, Any]:
        """The options of a row's own call, in addition to the common options. Raises InputError."""
        labels = row.get("candidate_labels")
        if labels is None:
            return {}
        if isinstance(labels, str):
            labels = [label for label in labels.split(",") if label.strip()]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise InputError(f"candidate_labels should be a list of strings, not {labels!r:.60}")
        return {"candidate_labels": [label.strip() for label in labels]}

    def taken(self, row: Row, base: Path) -> Row:
        """A row under our names, without null values. Empty texts are kept; the pipelines check them. Raises InputError."""
        taken = {name: row[column] for name, column in self.names.items() if row.get(column) is not None}
        for name, column in self.names.items():
            said = name if name == column else f"{column}, which is the {name}"
            if name not in self.form.optional and (taken.get(name) is None or (name in _FREE and not taken[name])):
                raise InputError(f"it has no {said}")
            if name in taken and name not in _FREE and not isinstance(taken[name], str):
                raise InputError(f"{column} should be a string, not {taken[name]!r:.60}")
        return taken | {"image": _image(taken["image"], base)} if "image" in taken else taken


def form_of(task: str, options: ScoreOptions, present: Sequence[str]) -> ScoringOptions:
    """How to ask rows with certain columns. Raises UsageError."""
    known = {name: own.schema for name, own in TASKS.items() if own.schema is not None}
    if task not in known:
        raise UnknownName("the task", task, known)
    form = known[task]
    labelled = options.labels is not None or CANDIDATES[0] in {*options.columns, *present}
    if options.labels is not None and CANDIDATES[0] not in form.columns:
        raise UsageError(f"--labels is of zero-shot tasks, and the model's task is {task}")
    if form.needs_labels and not labelled:
        raise UsageError(f"{task} needs --labels, or a column candidate_labels")
    form = next((other for column, other in form.with_column.items() if column in options.columns), form)
    if form.unlabelled is not None and not labelled:
        form = form.unlabelled
    own = {name or form.main: column for name, column in options.columns.items()}
    if unknown := sorted(set(own) - set(form.columns)):
        raise UsageError(f"{task} has no column {', '.join(unknown)}; it has {', '.join(form.columns)}")
    names = {}
    for name, aliases in form.columns.items():
        tried = (own[name],) if name in own else aliases
        found = next((column for column in tried if column in present), None)
        if found is not None:
            names[name] = found
        elif name in own or name not in form.optional:
            said = f"the input has no column {' or '.join(tried)}; it has {', '.join(present)}"
            raise UsageError(said if name in own else f"{said}. Name it with --column {name}=COLUMN")
    labels = {} if options.labels is None else {"candidate_labels": options.labels}
    return ScoringOptions(form, names, {**options.options, **labels, **dict(form.always)})


def _image(value: Any, base: Path) -> str | bytes:
    """An encoded image or its location: bytes, a path, a URL, or a record of these as in data sets. Raises InputError."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InputError(f"image should be a path, a URL or bytes, not {value!r:.60}")
    if value.startswith(("http://", "https://")):
        return value
    path = str(base / value)
    if not os.path.isfile(path):  # noqa: PTH113 – Path.is_file fails for a name that is too long
        raise InputError(f"there is no file {path[:200]}")
    return path
