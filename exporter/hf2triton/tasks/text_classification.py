"""Labels for texts."""

from .base import Output, Part, Task
from .tolerances import LOGITS

TASK = Task(
    "text-classification", True, (Part("text", "text", (Output("logits", "row", LOGITS),)),), ("sentiment-analysis",)
)
