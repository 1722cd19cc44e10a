"""Labels for texts that callers choose, by entailment."""

from .base import Endpoint, Output, Task
from .tolerances import LOGITS

TASK = Task(
    "zero-shot-classification",
    True,
    (Endpoint("text", "text", (Output("logits", "row", LOGITS),)),),
    needs_label="entailment",
    class_of="text-classification",
)
