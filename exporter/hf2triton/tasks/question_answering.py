"""Answers that are spans of a context."""

from .base import Output, Part, Task
from .tolerances import SPANS

TASK = Task("question-answering", True, (Part("question", "text", (Output("span_logits", "token", SPANS),)),))
