"""Text, token by token."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import sent_texts
from .common.schemas import TEXTS, record, text
from .common.tolerances import NEXT_TOKEN

TASK = Task(
    "text-generation",
    has_head=True,
    endpoints=(Endpoint("text", "text", (Output("logits", "token", NEXT_TOKEN),), kind="decoder"),),
    adapter_type="CAUSAL_LM",
    inputs=sent_texts,
    reference="logprobs",
    schema=AnswerSchema(TEXTS, text, lambda pa, options: pa.list_(record(pa, generated_text=pa.string()))),
)
