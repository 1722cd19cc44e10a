"""Answers that are spans of a context."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.arguments import questions_in_turn
from .common.questions import contexts, sent_contexts
from .common.schemas import QUESTION, question, spans
from .common.tolerances import SPANS

TASK = Task(
    "question-answering",
    has_head=True,
    endpoints=(Endpoint("question", "text", (Output("span_logits", "token", SPANS),)),),
    adapter_type="QUESTION_ANS",
    questions=contexts,
    inputs=sent_contexts,
    reference="spans",
    arguments=questions_in_turn,
    schema=AnswerSchema(
        QUESTION,
        question,
        lambda pa, options: spans(pa, options) if options.get("top_k", 1) != 1 else spans(pa, options).value_type,
        unwraps=True,
        example={"question": "a", "context": "a"},
    ),
)
