"""Labels for words."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import sent_texts, texts
from .common.schemas import TEXTS, entities, text
from .common.tolerances import LOGITS

TASK = Task(
    "token-classification",
    has_head=True,
    endpoints=(Endpoint("text", "text", (Output("logits", "token", LOGITS),)),),
    aliases=("ner",),
    joins_words=True,
    adapter_type="TOKEN_CLS",
    questions=texts(aggregation_strategy="simple"),
    inputs=sent_texts,
    schema=AnswerSchema(TEXTS, text, entities),
)
