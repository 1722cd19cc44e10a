"""Labels for texts, and for pairs of texts."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import sent_texts, texts_and_pairs
from .common.schemas import PAIR, TEXT, label, labels, text_or_pair
from .common.tolerances import LOGITS

TASK = Task(
    "text-classification",
    has_head=True,
    endpoints=(Endpoint("text", "text", (Output("logits", "row", LOGITS),)),),
    aliases=("sentiment-analysis",),
    adapter_type="SEQ_CLS",
    questions=texts_and_pairs(top_k=None),
    inputs=sent_texts,
    reference_options={"truncation": True},
    schema=AnswerSchema(
        {"text": TEXT, "text_pair": PAIR},
        text_or_pair,
        lambda pa, options: labels(pa, options) if "top_k" in options else label(pa),
        optional=frozenset({"text_pair"}),
    ),
)
