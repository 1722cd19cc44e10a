"""Rows → answers, several calls at a time. A row that cannot be answered says why; it takes no other with it."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from hf2triton_client.errors import InputError, ServerError

from ..errors import UsageError
from .forms import Asked
from .inputs import Row, Unreadable

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Scored:
    """A row of the output. `error`: why there is no answer, None where there is one."""

    id: Any
    answer: Any
    error: str | None
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class _Question:
    """What a row is asked; `own`: the options of its call beyond those of all."""

    input: Any
    own: Mapping[str, Any]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Rows of one call have the same."""
        keys = tuple(sorted(self.input)) if isinstance(self.input, dict) else ()
        return keys, tuple((name, tuple(value)) for name, value in self.own.items())


class Asker:
    """Asks a pipeline. Threads may share it. `id`: the column that names a row, None for its number; `keep`: those copied."""

    def __init__(self, pipeline: Any, asked: Asked, id: str | None, keep: Sequence[str]) -> None:
        """Raises UsageError and InputError for options that the pipeline does not take."""
        self._pipeline, self._asked, self._id, self._keep = pipeline, asked, id, keep
        self._call = getattr(pipeline, asked.form.method) if asked.form.method else pipeline
        #: A question that was answered, to tell a row that the model fails on from a model that fails.
        self._answered: _Question | None = None
        if asked.form.method:
            known = set(inspect.signature(self._call).parameters) - {"batch_size"}
            if unknown := sorted(set(asked.options) - known):
                raise UsageError(f"{pipeline.task} takes no {', '.join(unknown)} here: it gives embeddings")
            return
        labels = {"candidate_labels": ["a", "b"]} if "candidate_labels" in asked.names else {}
        example = asked.form.example if asked.form.alone else [asked.form.example]
        pipeline.prepare(example, pipeline.merged({**labels, **asked.options}))  # nothing is sent

    def scored(self, rows: Sequence[Row | Unreadable], first: int, base: Path) -> list[Scored]:
        """The output's rows. `first`: the number of the first row; `base`: what paths are relative to.

        Raises what is not a row's own fault: the errors of the client, but for InputError.
        """
        found: list[Any] = [self._question(row, base) for row in rows]
        asked = [(index, question) for index, question in enumerate(found) if isinstance(question, _Question)]
        for _, group in groupby(asked, key=lambda one: one[1].kind):
            indices, questions = zip(*group, strict=True)
            for index, answer in zip(indices, self._answers(questions), strict=True):
                found[index] = answer
        return [self._row(row, first + index, found[index]) for index, row in enumerate(rows)]

    def _question(self, row: Row | Unreadable, base: Path) -> _Question | InputError:
        if isinstance(row, Unreadable):
            return InputError(row.why)
        try:
            taken = self._asked.taken(row, base)
            return _Question(self._asked.form.input(taken), self._asked.options_of(taken))
        except InputError as error:
            return error

    def _answers(self, questions: Sequence[_Question]) -> list[Any]:
        """An answer of each, or its InputError or ServerError. One that fails is found by asking each on its own."""
        try:
            answers = self._ask(questions)
        except (InputError, ServerError) as error:
            return (
                [self._own_error(questions[0], error)]
                if len(questions) == 1
                else [answer for question in questions for answer in self._answers([question])]
            )
        self._answered = questions[-1]
        return answers

    def _ask(self, questions: Sequence[_Question]) -> list[Any]:
        form = self._asked.form
        options = {**self._asked.options, **questions[0].own}
        if form.alone:
            return [self._call(question.input, **options) for question in questions]
        answers = self._call([question.input for question in questions], batch_size=len(questions), **options)
        return [answers] if form.unwraps and len(questions) == 1 else list(answers)

    def _own_error(self, question: _Question, error: InputError | ServerError) -> InputError | ServerError:
        """The error, if it is the row's own fault: the model answers others. Raises it otherwise."""
        if isinstance(error, ServerError):
            if self._answered is None:
                raise error
            self._ask([self._answered])
        return error

    def _row(self, row: Row | Unreadable, number: int, found: Any) -> Scored:
        readable: Row = {} if isinstance(row, Unreadable) else row
        kept = {name: readable.get(name) for name in self._keep}
        named = number if self._id is None else readable.get(self._id)
        if isinstance(found, (InputError, ServerError)):
            # it was asked alone, so that its place in the call says nothing
            return Scored(named, None, re.sub(r"\b(text|image|input) 0\b", r"the \1", str(found)), kept)
        return Scored(named, found, None, kept)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[tuple[Item, Result]]:
    """What a function makes of items, in their order. Of twice as many as there are threads more is neither read nor kept."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="hf2triton-score")
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) >= 2 * threads:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
