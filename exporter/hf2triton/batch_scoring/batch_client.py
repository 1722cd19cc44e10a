"""Turns rows into answers, several calls at a time. If a row cannot be answered, its result says why; other rows are not
affected."""

from __future__ import annotations

import inspect
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from hf2triton_client.error_rows import Reason
from hf2triton_client.errors import ClientError, DeadlineExceeded, InputError, ModelNotFound, ServerError

from ..errors import UsageError
from .inputs import Row, Unreadable
from .task_schemas import ScoringOptions

#: Errors that a row may have caused, if it is asked alone and still gets the error.
_OF_ROWS = (DeadlineExceeded, InputError, ServerError)
#: How often the model's process may end by chance while a single row is asked.
_DEATHS = 2
#: Seconds within which a model whose process has ended must answer again, and seconds between two attempts.
_PATIENCE, _PAUSE = 60.0, 0.5
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Scored:
    """A row of the output. `error`: why there is no answer; None if there is one."""

    id: Any
    answer: Any
    error: str | None
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class _Question:
    """The question for a row. `own`: the options of its call in addition to the common options."""

    input: Any
    own: Mapping[str, Any]

    @property
    def kind(self) -> tuple[Any, ...]:
        """A key that is equal for rows of the same call."""
        keys = tuple(sorted(self.input)) if isinstance(self.input, dict) else ()
        return keys, tuple((name, tuple(value)) for name, value in self.own.items())


class Asker:
    """Asks a pipeline. Threads can share it. `id`: the column that names a row, None for its number. `keep`: the columns
    that are copied."""

    def __init__(self, pipeline: Any, asked: ScoringOptions, id: str | None, keep: Sequence[str]) -> None:
        """Raises UsageError and InputError for options that the pipeline does not accept."""
        self._pipeline, self._asked, self._id, self._keep = pipeline, asked, id, keep
        self._call = getattr(pipeline, asked.form.method) if asked.form.method else pipeline
        #: A question that was answered. It distinguishes a row on which the model fails from a model that fails.
        self._answered: _Question | None = None
        labels = {"candidate_labels": ["a", "b"]} if "candidate_labels" in asked.names else {}
        self._example = _Question(asked.form.example, labels)
        if asked.form.method:
            known = set(inspect.signature(self._call).parameters) - {"batch_size", *asked.form.without}
            if unknown := sorted(set(asked.options) - known):
                raise UsageError(
                    f"{pipeline.task} takes no {', '.join(unknown)} here, where it calls {asked.form.method}"
                )
            return
        example = asked.form.example if asked.form.alone else [asked.form.example]
        pipeline.prepare(example, pipeline.merged({**labels, **asked.options}))  # nothing is sent

    def scored(self, rows: Sequence[Row | Unreadable], first: int, base: Path) -> list[Scored]:
        """The output's rows. `first`: the number of the first row. `base`: the folder that paths are relative to.

        Raises errors that the row did not cause: the errors of the client.
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

    def _answers(self, questions: Sequence[_Question], deaths: int = 0) -> list[Any]:
        """For each question, its answer or its own error. Failing questions are found by asking each question separately.
        `deaths`: how often the model's process has ended while it was asked these questions."""
        try:
            answers = self._ask(questions)
        except _OF_ROWS as error:
            if error.reason is Reason.MODEL_DIED:
                self._wait_for_the_model()
                if len(questions) == 1 and deaths < _DEATHS:  # a row of another call may have been the cause
                    return self._answers(questions, deaths + 1)
            if len(questions) == 1:
                return [self._own_error(error)]
            return [answer for question in questions for answer in self._answers([question])]
        self._answered = questions[-1]
        return answers

    def _wait_for_the_model(self) -> None:
        """Waits until the model answers again: the process that supervises the server restarts it. Raises the errors of the
        client."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._ask([self._answered or self._example])
            except InputError:  # an InputError is an answer too
                return
            except (ModelNotFound, ServerError):
                if time.monotonic() > until:
                    raise
            else:
                return
            time.sleep(_PAUSE)

    def _ask(self, questions: Sequence[_Question]) -> list[Any]:
        form = self._asked.form
        options = {**self._asked.options, **questions[0].own}
        if form.alone:
            return [self._call(question.input, **options) for question in questions]
        answers = self._call([question.input for question in questions], batch_size=len(questions), **options)
        return [answers] if form.unwraps and len(questions) == 1 else list(answers)

    def _own_error(self, error: ClientError) -> ClientError:
        """Returns the error if the row caused it, that is, if the model answers other rows. Raises it otherwise."""
        if not isinstance(error, InputError) and error.reason is not Reason.MODEL_DIED:
            if self._answered is None:
                raise error
            self._ask([self._answered])
        return error

    def _row(self, row: Row | Unreadable, number: int, found: Any) -> Scored:
        readable: Row = {} if isinstance(row, Unreadable) else row
        kept = {name: readable.get(name) for name in self._keep}
        named = number if self._id is None else readable.get(self._id)
        if isinstance(found, ClientError):
            return Scored(named, None, _of_the_row(found), kept)
        return Scored(named, found, None, kept)


def _of_the_row(error: ClientError) -> str:
    """The error message. The row was asked alone, so its position in the call, with which the message begins, is
    meaningless."""
    text = str(error)
    said = error.said or text
    return text.removesuffix(said) + re.sub(r"^(text|text_pair|image|input) 0\b", r"the \1", said)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Items with the results of a function, in order. At most twice as many items as threads are read ahead."""
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
