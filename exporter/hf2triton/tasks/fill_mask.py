"""Tokens for masked places."""

from .base import Endpoint, Output, Task
from .tolerances import LOGITS

TASK = Task("fill-mask", True, (Endpoint("masked-text", "text", (Output("logits", "mask", LOGITS),)),))
