"""question-answering: finds the answer to a question in a context."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..transport.calls import Call
from ..transport.served_model import Row, as_filled_text
from .base import Results, TaskPipeline, texts_of

#: Options that the server uses to split contexts into windows and to choose spans.
_PARAMETERS = (
    "top_k",
    "doc_stride",
    "max_answer_len",
    "max_seq_len",
    "max_question_len",
    "handle_impossible_answer",
    "align_to_words",
)


class QuestionAnswering(TaskPipeline):
    """The span of a context that answers a question: `{"score": 0.9, "start": 10, "end": 14, "answer": "Rome"}`.

    Works like the pipeline of transformers 4, which transformers 5 removed: `pipe(question="…", context="…")`, lists of either,
    or a dict `{"question": …, "context": …}` or a list of those. Options: `top_k` (returns a list of answers), `doc_stride`,
    `max_answer_len`, `max_seq_len`, `max_question_len`, `handle_impossible_answer`, `align_to_words`. Contexts of any length
    are read in overlapping windows.
    """

    task = "question-answering"
    options = frozenset(_PARAMETERS)

    def __call__(
        self,
        inputs: Any = None,
        *,
        question: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        if (inputs is None) == (question is None and context is None):
            raise InputError("question-answering takes question=… and context=…, or dicts with these keys")
        if inputs is None:
            inputs = _paired(question, context)
        return super().__call__(inputs, **options)

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        asked = [inputs] if isinstance(inputs, Mapping) else inputs
        if not isinstance(asked, Sequence) or isinstance(asked, (str, bytes)):
            raise InputError(f"expected a dict or a list of dicts, not {type(inputs).__name__}")
        for index, one in enumerate(asked):
            if not isinstance(one, Mapping) or set(one) != {"question", "context"}:
                raise InputError(f"input {index} is not a dict with the keys 'question' and 'context'")
        columns = {
            "text": texts_of([one["question"] for one in asked], as_filled_text),
            "text_pair": texts_of([one["context"] for one in asked], as_filled_text),
        }
        parameters = json.dumps({name: options[name] for name in _PARAMETERS if options.get(name) is not None})

        def finish(rows: list[Row]) -> Any:
            values = [_unwrapped(json.loads(row["answers"][0])) for row in rows]
            return values[0] if len(values) == 1 else Results(values, rows)

        columns["parameters"] = [parameters] * len(columns["text"])
        return Call([self.ask(columns, ["answers"], options)], finish)


def _unwrapped(answers: list[dict[str, Any]]) -> Any:
    """Returns a single answer without its list."""
    return answers[0] if len(answers) == 1 else answers


def _paired(question: Any, context: Any) -> list[dict[str, Any]]:
    """One context for all questions, or one for each question. Raises InputError."""
    if question is None or context is None:
        raise InputError("question-answering takes both question=… and context=…")
    questions = [question] if isinstance(question, (str, bytes)) else list(question)
    contexts = [context] * len(questions) if isinstance(context, (str, bytes)) else list(context)
    if len(questions) != len(contexts):
        raise InputError(f"there are {len(questions)} questions and {len(contexts)} contexts")
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]
