"""Labels that callers choose, for texts, by entailment."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import about_topics, sent_hypotheses
from .common.schemas import CANDIDATES, LABELLED, TEXTS, sequence, text
from .common.tolerances import LOGITS

TASK = Task(
    "zero-shot-classification",
    has_head=True,
    endpoints=(Endpoint("text", "text", (Output("logits", "row", LOGITS),)),),
    needs_label="entailment",
    class_of="text-classification",
    questions=about_topics,
    inputs=sent_hypotheses,
    schema=AnswerSchema(
        {**TEXTS, "candidate_labels": CANDIDATES}, text, sequence, optional=LABELLED, needs_labels=True
    ),
)
