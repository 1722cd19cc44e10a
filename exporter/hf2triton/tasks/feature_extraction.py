"""The states of all tokens."""

from .base import Endpoint, Output, Task
from .tolerances import STATES

TASK = Task("feature-extraction", False, (Endpoint("text", "text", (Output("last_hidden_state", "token", STATES),)),))
