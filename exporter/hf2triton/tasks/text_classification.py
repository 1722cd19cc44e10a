"""Labels for texts."""

from .base import Endpoint, Output, Task
from .tolerances import LOGITS

TASK = Task(
    "text-classification",
    True,
    (Endpoint("text", "text", (Output("logits", "row", LOGITS),)),),
    ("sentiment-analysis",),
)
