"""The states of all tokens."""

from .base import Output, Part, Task
from .tolerances import STATES

TASK = Task("feature-extraction", False, (Part("text", "text", (Output("last_hidden_state", "token", STATES),)),))
