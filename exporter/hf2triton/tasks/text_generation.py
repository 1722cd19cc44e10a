"""Text, token by token."""

from .base import Output, Part, Task
from .tolerances import NEXT_TOKEN

TASK = Task("text-generation", True, (Part("text", "text", (Output("logits", "token", NEXT_TOKEN),), kind="decoder"),))
