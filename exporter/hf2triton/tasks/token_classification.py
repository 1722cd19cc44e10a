"""Labels for words."""

from .base import Output, Part, Task
from .tolerances import LOGITS

TASK = Task(
    "token-classification",
    True,
    (Part("text", "text", (Output("logits", "token", LOGITS),)),),
    ("ner",),
    joins_words=True,
)
