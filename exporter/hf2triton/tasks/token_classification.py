"""Labels for words."""

from .base import Endpoint, Output, Task
from .tolerances import LOGITS

TASK = Task(
    "token-classification",
    True,
    (Endpoint("text", "text", (Output("logits", "token", LOGITS),)),),
    ("ner",),
    joins_words=True,
)
