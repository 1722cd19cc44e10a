"""Tokens for masked places."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import sent_texts, texts
from .common.schemas import TEXTS, a_list_a_mask, text, tokens
from .common.tolerances import LOGITS

TASK = Task(
    "fill-mask",
    has_head=True,
    endpoints=(Endpoint("masked-text", "text", (Output("logits", "mask", LOGITS),)),),
    questions=texts(),
    inputs=sent_texts,
    reference_options={"tokenizer_kwargs": {"truncation": True}},
    schema=AnswerSchema(TEXTS, text, tokens, uniform=a_list_a_mask, unwraps=True),
)
