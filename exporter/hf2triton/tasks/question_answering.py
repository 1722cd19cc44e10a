"""Answers that are spans of a context."""

from .base import Endpoint, Output, Task
from .tolerances import SPANS

TASK = Task("question-answering", True, (Endpoint("question", "text", (Output("span_logits", "token", SPANS),)),))
