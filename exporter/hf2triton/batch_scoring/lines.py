"""Answers the lines of a stream as they come: a text, or a JSON object, a line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

from hf2triton_client import TaskPipeline

from ..errors import UsageError
from ..tasks import TASKS
from .batch_client import Asker, Scored
from .inputs import Row, Unreadable
from .task_schemas import ScoringOptions

#: The most bytes that are read at once, and calls under way at the same time.
_CHUNK, _CALLS = 1 << 16, 4


def answer_lines(ask: TaskPipeline, source: int, options: Mapping[str, Any]) -> Iterator[Scored]:
    """The answers to the lines of a file descriptor, in order, each as soon as it is there. `options`: for each call.

    Lines that have arrived together are sent together. Only a few calls are read ahead. Raises UsageError, InputError and the
    client's errors that no line has caused.
    """
    task = TASKS[ask.task]
    assert task.schema is not None  # every task has one
    form = task.lines or replace(task.schema, method="", always=())
    names = {column: column for column in form.columns if column not in options}
    asker = Asker(ask, ScoringOptions(form, names, options), None, ())
    size = 1 if form.alone else ask.batch_size
    pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="hf2triton-infer")
    answers: Queue[Future[list[Scored]] | None] = Queue(_CALLS)

    def read() -> None:
        first = 0
        try:
            for lines in _batches(source, size):
                rows = [_row(task.name, form.main, line) for line in lines]
                answers.put(pool.submit(asker.scored, rows, first, Path()))
                first += len(rows)
            answers.put(None)
        except OSError as error:
            unread: Future[list[Scored]] = Future()
            unread.set_exception(UsageError(f"standard input cannot be read: {error.strerror}"))
            answers.put(unread)
        except RuntimeError:  # the pool is shut down: nobody wants further answers
            pass

    # a daemon: a read of a terminal or a pipe lasts until there is something to read
    threading.Thread(target=read, daemon=True).start()
    try:
        while (answered := answers.get()) is not None:
            yield from answered.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(source: int, size: int) -> Iterator[list[bytes]]:
    """The lines of a file descriptor, `size` at most that have arrived together."""
    rest = b""
    while chunk := os.read(source, _CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for start in range(0, len(lines), size):
            yield lines[start : start + size]
    if rest:
        yield [rest]


def _row(task: str, main: str, line: bytes) -> Row | Unreadable:
    """The row that a line stands for: a JSON object, or what the words of a command line would be."""
    try:
        text = line.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        return Unreadable(f"it is not UTF-8: {error}")
    if text.startswith("{"):
        with suppress(ValueError, RecursionError):
            if isinstance(given := json.loads(text), dict):
                return given
    return _of_words(task, main, text)


def _of_words(task: str, main: str, text: str) -> Row | Unreadable:
    arguments = TASKS[task].arguments
    words: Sequence[str] = [text] if arguments is list else text.split("\t")
    try:
        given = arguments(words)
    except UsageError as error:
        return Unreadable(f"{error} (texts on a line are separated by tabs)")
    if isinstance(given, dict):
        return given
    if len(given) > 1:
        return Unreadable(f"it holds {len(words)} texts; it should hold one question and its context")
    return given[0] if isinstance(given[0], dict) else {main: given[0]}
