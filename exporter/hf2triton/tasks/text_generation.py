"""Text, token by token."""

from .base import Endpoint, Output, Task
from .tolerances import NEXT_TOKEN

TASK = Task(
    "text-generation", True, (Endpoint("text", "text", (Output("logits", "token", NEXT_TOKEN),), kind="decoder"),)
)
