"""Tokens for masked places."""

from .base import Output, Part, Task
from .tolerances import LOGITS

TASK = Task("fill-mask", True, (Part("masked-text", "text", (Output("logits", "mask", LOGITS),)),))
