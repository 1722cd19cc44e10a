"""`hf2triton infer`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from .common import amount, command, fail
from .completion import entry_names
from .data_options import labels_option, pipeline_option
from .server_options import ServerOptions, asks_server

if TYPE_CHECKING:
    from hf2triton_client import TaskPipeline

#: The input that stands for the lines of stdin.
_STDIN = "-"


@click.command()
@click.argument("name", shell_complete=entry_names)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@labels_option
@pipeline_option
@asks_server()
@command
def infer(
    name: str, inputs: tuple[str, ...], labels: str | None, options: dict[str, Any], server: ServerOptions
) -> None:
    """Ask a served model, and print its answer as JSON.

    INPUT is a text, or the path or URL of an image. For sentence-similarity, the first INPUT is compared with the others. For
    rerank, the first INPUT is the query, and the others are the documents. For question-answering, each question is followed by
    its context.

    If INPUT is -, the inputs are the lines of standard input, and each answer is one line of JSON, in the same order. A line
    is one INPUT. A question and its context, the sentences to compare, or a query and its documents, are separated by tabs. A
    line can also be a JSON object with the columns of `hf2triton score`, such as {"text": "…", "text_pair": "…"}, or with
    source_sentence and sentences, or query and documents. If a line cannot be answered, its answer is an object with the key
    error, and the exit code is 1.
    """
    from hf2triton_client import pipeline

    from ..tasks import TASKS

    server.wait_for([name])
    if labels is not None:
        options = {**options, "candidate_labels": labels}
    with pipeline(model=name, url=server.address, headers=server.headers) as ask:
        if inputs == (_STDIN,):
            _answer_lines(ask, options)
        else:
            click.echo(_as_line(ask(TASKS[ask.model.task].arguments(inputs), **options)))


def _answer_lines(ask: TaskPipeline, options: dict[str, Any]) -> None:
    from ..batch_scoring.lines import answer_lines

    lines = failed = 0
    for row in answer_lines(ask, sys.stdin.fileno(), options):
        lines += 1
        failed += row.error is not None
        click.echo(_as_line(row.answer if row.error is None else {"error": row.error}))
    if failed:
        fail(f"{failed:,} of {amount(lines, 'line')} {'has' if failed == 1 else 'have'} no answer", 1)


def _as_line(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False, default=float)
